/// What every OpCase is put through.
#include <catch2/catch.hpp>
#include <cstring>

#include "op_case.hpp"

namespace qdistill_test {

namespace {

template <class T>
bool same_bits(const Tensor<T>& a, const Tensor<T>& b) {
  return a.shape() == b.shape() &&
         (a.numel() == 0 || std::memcmp(a.data(), b.data(), static_cast<std::size_t>(a.numel()) * sizeof(T)) == 0);
}

void compare(const std::vector<float>& got, const std::vector<double>& want, double tolerance) {
  REQUIRE(got.size() == want.size());
  for (std::size_t i = 0; i < got.size(); ++i) {
    const double error = std::fabs(static_cast<double>(got[i]) - want[i]) / (1 + std::fabs(want[i]));
    if (error <= tolerance || (std::isnan(got[i]) && std::isnan(want[i])) || static_cast<double>(got[i]) == want[i])
      continue;
    INFO("element " << i << ": got " << got[i] << ", expected " << want[i]);
    CHECK(error <= tolerance);
    return;
  }
}

/// The same values with the elements laid out in reverse dimension order, so that the tensor is strided.
template <class T>
Tensor<T> strided_copy(const Tensor<T>& x) {
  if (x.rank() < 2) {
    if (x.rank() == 0) return x;
    Tensor<T> wide = Tensor<T>::full({x.numel() * 2}, T(77));
    for (Index i = 0; i < x.numel(); ++i) wide.data()[2 * i] = x.data()[i];
    return wide.window(x.shape(), {2}, 0);
  }
  Shape reversed;
  for (int d = x.rank() - 1; d >= 0; --d) reversed.push_back(x.shape()[d]);
  Tensor<T> base = Tensor<T>::empty(reversed);
  Strides strides = x.shape();
  for (int d = 0; d < x.rank(); ++d) strides[d] = base.strides()[x.rank() - 1 - d];
  Tensor<T> view = base.window(x.shape(), strides, 0);
  const std::vector<T> values = x.to_vector();
  Index index[max_rank] = {};
  for (const T v : values) {
    Index at = 0;
    for (int d = 0; d < x.rank(); ++d) at += index[d] * strides[d];
    base.data()[at] = v;
    for (int d = x.rank() - 1; d >= 0; --d) {
      if (++index[d] < x.shape()[d]) break;
      index[d] = 0;
    }
  }
  return view;
}

/// Output and gradients of a float run.
Args<float> run_all(const OpCase& c, const Args<float>& args) {
  Args<float> leaves, out;
  for (const auto& x : args) leaves.push_back(c.differentiable ? requires_grad(x) : x);
  const Tensor<float> y = c.run_float(leaves);
  out.push_back(y.detach());
  if (y.requires_grad()) {
    y.backward(Tensor<float>::uniform(y.shape(), {3, 5}, -1.0f, 1.0f));
    for (const auto& leaf : leaves) out.push_back(leaf.grad());
  }
  return out;
}

void check_case(const OpCase& c) {
  auto all = c.shapes;
  all.insert(all.end(), c.more_shapes.begin(), c.more_shapes.end());
  REQUIRE(!all.empty());
  for (std::size_t s = 0; s < all.size(); ++s) {
    std::string label;
    for (const Shape& shape : all[s]) label += text(shape, ' ');
    INFO("shapes " << label);
    const Args<double> args_double = make_args<double>(c, all[s]);
    Args<float> args_float = make_args<float>(c, all[s]);
    Args<double> rounded;  // the float inputs, widened, so that only the arithmetic differs
    for (const auto& x : args_float) {
      Tensor<double> w = Tensor<double>::empty(x.shape());
      for (Index i = 0; i < x.numel(); ++i) w.data()[i] = static_cast<double>(x.data()[i]);
      rounded.push_back(w);
    }
    const Tensor<float> y = c.run_float(args_float);
    const Tensor<double> in_double = c.run_double(rounded);
    CHECK(y.shape() == in_double.shape());
    const std::vector<double> want = c.reference ? c.reference(rounded) : in_double.to_vector();
    compare(y.to_vector(), want, c.tolerance);
    if (c.reference) {
      const std::vector<double> got = in_double.to_vector();
      REQUIRE(got.size() == want.size());
      for (std::size_t i = 0; i < got.size(); ++i) {
        INFO("double, element " << i);
        if (!(std::isnan(got[i]) && std::isnan(want[i])) && got[i] != want[i])
          REQUIRE(std::fabs(got[i] - want[i]) <= 1e-10 * (1 + std::fabs(want[i])));
      }
    }
    Args<float> strided;
    for (const auto& x : args_float) strided.push_back(strided_copy(x));
    INFO("strided inputs");
    compare(c.run_float(strided).to_vector(), want, c.tolerance);
    if (s < c.shapes.size() && c.differentiable && !c.surrogate) {
      const GradcheckResult result = gradcheck(c.run_double, args_double);
      INFO("gradcheck: " << result.message());
      CHECK(result.ok);
      const GradcheckResult on_views = gradcheck(
          [&](const Args<double>& a) {
            // Gradients must also be right when they are added to ones that are there: use every input twice.
            Tensor<double> first = c.run_double(a);
            Tensor<double> second = c.run_double(a);
            Tensor<double> sum = first.clone();
            add_elements(second.clone().data(), sum.data(), sum.numel());
            return record("sum", sum, inputs(first, second), [](const Tensor<double>& dy, Gradients<double>& dx) {
              dx[0].accumulate(dy);
              dx[1].accumulate(dy);
            });
          },
          args_double);
      INFO("gradcheck, accumulating: " << on_views.message());
      CHECK(on_views.ok);
    }
  }
  {  // on the large inputs where the case has them
    const int before = num_threads();
    const Args<float> args = make_args<float>(c, c.bench_shapes.empty() ? all.back() : c.bench_shapes);
    set_num_threads(1);
    const Args<float> one = run_all(c, args);
    for (const int threads : {2, 4}) {
      set_num_threads(threads);
      const Args<float> many = run_all(c, args);
      REQUIRE(one.size() == many.size());
      for (std::size_t i = 0; i < one.size(); ++i) {
        INFO(threads << " threads, " << (i ? "gradient of input " + std::to_string(i - 1) : std::string("output")));
        CHECK(same_bits(one[i], many[i]));
      }
    }
    set_num_threads(before);
  }
  for (const WrongCall& wrong : c.wrong) {
    INFO("expecting an error with '" << wrong.text << "'");
    try {
      wrong.call();
      CHECK(false);
    } catch (const Error& e) {
      INFO("got: " << e.what());
      CHECK(std::string(e.what()).find(wrong.text) != std::string::npos);
    }
  }
}

}  // namespace

TEST_CASE("every operation: reference, gradients, edges, strides, threads, errors", "[ops]") {
  REQUIRE(!op_cases().empty());
  for (const OpCase& c : op_cases()) {
    DYNAMIC_SECTION(c.name) {
      check_case(c);
      CHECK(live_nodes() == 0);
    }
  }
}

}  // namespace qdistill_test
