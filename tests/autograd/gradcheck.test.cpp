#include "qdistill/autograd/gradcheck.hpp"

#include <catch2/catch.hpp>

namespace qdistill_test {

using namespace qdistill;
using Catch::Matchers::Contains;

namespace {

/// The user-defined function that autograd/record.hpp documents, with an error of `wrong` in the gradient of element 1.
template <class T>
Tensor<T> user_square(const Tensor<T>& x, double wrong = 0) {
  Tensor<T> y = Tensor<T>::empty(x.shape());
  for (Index i = 0; i < x.numel(); ++i) y.data()[i] = x.data()[i] * x.data()[i];
  return record("square", y, inputs(x), [x = save(x), wrong](const Tensor<T>& dy, Gradients<T>& dx) {
    const T* v = x.get().data();
    T* g = dx[0].data();
    for (Index i = 0; i < dy.numel(); ++i)
      g[i] = (dx[0].mode() == Write::add ? g[i] : T(0)) + 2 * v[i] * dy.data()[i] + (i == 1 ? T(wrong) : T(0));
  });
}

}  // namespace

TEST_CASE("user-defined functions: as documented", "[autograd]") {
  {
    const auto x = requires_grad(Tensor<float>::from({1, 2, 3}));
    const auto y = user_square(user_square(x));
    CHECK(y.to_vector() == std::vector<float>{1, 16, 81});
    y.backward(Tensor<float>::ones({3}));
    CHECK(x.grad().to_vector() == std::vector<float>{4, 32, 108});
    y.detach();
    user_square(x).backward(Tensor<float>::ones({3}));  // adds to what is there
    CHECK(x.grad().to_vector() == std::vector<float>{6, 36, 114});
  }
  CHECK(live_nodes() == 0);
}

TEST_CASE("gradcheck: accepts a right gradient, says where and how far a wrong one is off", "[autograd]") {
  const auto at = Tensor<double>::from({0.5, -1.25, 2});
  const auto right = gradcheck([](const auto& x) { return user_square(x[0]); }, {at});
  CHECK(right.ok);
  CHECK(right.compared == 3);
  CHECK(right.message() == "gradients agree (3 elements)");
  const auto wrong = gradcheck([](const auto& x) { return user_square(x[1], 0.01); }, {at, at});
  CHECK(!wrong.ok);
  CHECK(wrong.input == 1);
  CHECK(wrong.element == 1);
  CHECK(std::fabs(wrong.analytic - wrong.numeric - 0.01) < 1e-6);
  CHECK(std::fabs(wrong.excess - 0.01) < 1e-4);
  CHECK_THAT(wrong.message(), Contains("gradient of input 1, element 1: analytic"));
  const auto not_a_number = gradcheck([](const auto& x) { return user_square(x[0], std::nan("")); }, {at});
  CHECK(!not_a_number.ok);
  CHECK(not_a_number.element == 1);
}

TEST_CASE("gradcheck: a missing gradient counts as zero, skipped inputs are constants", "[autograd]") {
  const auto at = Tensor<double>::from({0.5, -1.25});
  const auto cut = gradcheck([](const auto& x) { return user_square(x[0]).detach(); }, {at});
  CHECK(!cut.ok);
  CHECK(cut.analytic == 0);
  const auto skipped = gradcheck([](const auto& x) { return user_square(x[0], 1); }, {at}, {}, {true});
  CHECK(skipped.ok);
  CHECK(skipped.compared == 0);
  const auto loose = gradcheck([](const auto& x) { return user_square(x[0], 0.01); }, {at}, {1e-6, 1e-5, 0.1});
  CHECK(loose.ok);
  CHECK(live_nodes() == 0);
}

}  // namespace qdistill_test
