/// Gradient clipping.
#include "qdistill/optim/clip.hpp"

#include <catch2/catch.hpp>

#include "golden.hpp"

namespace qdistill_test {

namespace {

template <class T>
Tensor<T> with_gradient(const Tensor<T>& grad) {
  Tensor<T> leaf = requires_grad(Tensor<T>::zeros(grad.shape()));
  leaf.grad() = grad;
  return leaf;
}

const bool clip_norm_golden = golden("clip_grad_norm", [](auto g) {
  using T = typename decltype(g)::Scalar;
  const std::vector<Tensor<T>> p = {with_gradient(g.input("grad_a")), with_gradient(g.input("grad_b"))};
  const auto& type = g->params().at("norm_type");
  const double norm_type = type.is_string() ? std::numeric_limits<double>::infinity() : type.template get<double>();
  g->compare_value("total_norm",
                   optim::clip_grad_norm(p, g->params().at("max_norm").template get<double>(), norm_type));
  g.compare("grad_a_after", p[0].grad());
  g.compare("grad_b_after", p[1].grad());
});
const bool clip_value_golden = golden("clip_grad_value", [](auto g) {
  using T = typename decltype(g)::Scalar;
  const std::vector<Tensor<T>> p = {with_gradient(g.input("grad"))};
  optim::clip_grad_value(p, g->params().at("clip_value").template get<double>());
  g.compare("grad_after", p[0].grad());
});

}  // namespace

TEST_CASE("clipping: other norms, missing gradients, threads", "[optim]") {
  const auto a = with_gradient(Tensor<float>::from({3, -4})), none = requires_grad(Tensor<float>::zeros({5}));
  const std::vector<Tensor<float>> p = {a, none};
  CHECK(optim::clip_grad_norm(p, 100, 3) == Approx(std::cbrt(27 + 64.0)));
  CHECK(a.grad().data()[0] == 3);  // below the limit: untouched
  CHECK(optim::clip_grad_norm(p, 1) == Approx(5));
  CHECK(a.grad().data()[1] == Approx(-0.8));
  CHECK(!none.grad().defined());

  const int before = num_threads();
  const Tensor<float> large = Tensor<float>::uniform({300007}, {1, 2}, -1, 1);
  set_num_threads(1);
  const double one = optim::clip_grad_norm(std::vector<Tensor<float>>{with_gradient(large.clone())}, 1);
  set_num_threads(4);
  const double many = optim::clip_grad_norm(std::vector<Tensor<float>>{with_gradient(large.clone())}, 1);
  set_num_threads(before);
  CHECK(one == many);
}

TEST_CASE("clipping reports a gradient that is not finite", "[optim]") {
  const float nan = std::numeric_limits<float>::quiet_NaN(), inf = std::numeric_limits<float>::infinity();
  for (const double type : {1.0, 2.0, std::numeric_limits<double>::infinity()}) {
    CHECK(std::isnan(optim::clip_grad_norm(std::vector<Tensor<float>>{with_gradient(Tensor<float>::from({nan, 1})),
                                                                      with_gradient(Tensor<float>::ones({2}))},
                                           1, type)));
    CHECK(std::isinf(
        optim::clip_grad_norm(std::vector<Tensor<float>>{with_gradient(Tensor<float>::from({1, inf}))}, 1, type)));
  }
}

TEST_CASE("clipping refuses bad values", "[optim]") {
  const std::vector<Tensor<float>> p = {with_gradient(Tensor<float>::from({3, -4}))};
  CHECK_THROWS_WITH(optim::clip_grad_norm(p, 0), "[clip_grad_norm] got max_norm 0, expected above 0");
  CHECK_THROWS_WITH(optim::clip_grad_norm(p, 1, -1), "[clip_grad_norm] got norm_type -1, expected above 0");
  CHECK_THROWS_WITH(optim::clip_grad_value(p, -1), "[clip_grad_value] got clip_value -1, expected at least 0");
  CHECK_THROWS_WITH(optim::clip_grad_norm(std::vector<Tensor<float>>{Tensor<float>::zeros({1})}, 1),
                    "[clip_grad_norm] got a tensor that takes no gradient");
}

}  // namespace qdistill_test
