/// Several optimizers as one: same steps, the rate of the first, state with prefixes.
#include "qdistill/optim/joint.hpp"

#include <catch2/catch.hpp>

#include "error_of.hpp"
#include "qdistill/optim/adam.hpp"
#include "qdistill/optim/sgd.hpp"

namespace qdistill_test {

using namespace qdistill;

namespace {

struct Pair {
  Tensor<float> a = requires_grad(Tensor<float>::uniform({37}, {1, 1}, -1, 1));
  Tensor<float> b = requires_grad(Tensor<float>::uniform({5}, {1, 2}, -1, 1));
  void gradients(std::uint64_t step) const {
    a.grad() = Tensor<float>::uniform({37}, {2, step}, -1, 1);
    b.grad() = Tensor<float>::uniform({5}, {3, step}, -1, 1);
  }
  std::vector<float> values() const {
    std::vector<float> out = a.to_vector();
    const std::vector<float> rest = b.to_vector();
    out.insert(out.end(), rest.begin(), rest.end());
    return out;
  }
};
constexpr optim::SgdOptions sgd_options{.lr = 0.1, .momentum = 0.9, .weight_decay = 1e-2, .nesterov = true};
constexpr optim::AdamOptions adam_options{.lr = 0.01};

std::unique_ptr<optim::Joint<float>> joined(const Pair& p) {
  std::vector<std::unique_ptr<optim::Optimizer<float>>> parts;
  parts.push_back(std::make_unique<optim::SGD<float>>(std::vector<Tensor<float>>{p.a}, sgd_options));
  parts.push_back(std::make_unique<optim::Adam<float>>(std::vector<Tensor<float>>{p.b}, adam_options));
  return std::make_unique<optim::Joint<float>>(std::move(parts));
}

}  // namespace

TEST_CASE("joined optimizers step as they would alone; the rate is the first one's", "[optim]") {
  const Pair together, alone;
  const auto joint = joined(together);
  optim::SGD<float> sgd(std::vector<Tensor<float>>{alone.a}, sgd_options);
  optim::Adam<float> adam(std::vector<Tensor<float>>{alone.b}, adam_options);
  CHECK(joint->lr() == 0.1);
  CHECK(joint->parameter_count() == 2);
  for (std::uint64_t step = 0; step < 4; ++step) {
    if (step == 2) joint->set_lr(0.025), sgd.set_lr(0.025);
    together.gradients(step), alone.gradients(step);
    joint->step(), sgd.step(), adam.step();
    CHECK(together.values() == alone.values());
  }
  CHECK(joint->lr() == 0.025);
  CHECK(joint->part(1).lr() == 0.01);
  joint->zero_grad();
  CHECK((!together.a.grad().defined() && !together.b.grad().defined()));
}

TEST_CASE("a joint state goes on with the same bits, and a wrong one changes nothing", "[optim]") {
  const Pair first, second;
  const auto one = joined(first);
  for (std::uint64_t step = 0; step < 3; ++step) first.gradients(step), one->step();
  Tensor<float> a = second.a, b = second.b;
  a.copy_from(first.a), b.copy_from(first.b);
  const auto two = joined(second);
  two->load_state(one->state());
  for (std::uint64_t step = 3; step < 6; ++step) {
    first.gradients(step), second.gradients(step);
    one->step(), two->step();
  }
  CHECK(first.values() == second.values());

  const auto load = [&](auto change) {
    optim::OptimizerState<float> s = one->state();
    change(s);
    return error_of([&] { two->load_state(s); });
  };
  CHECK(load([](auto&) {}) == "no error");
  CHECK(load([](auto& s) { s.scalars[0].first = "lr"; }).find("[Joint] got state 'lr'") == 0);
  CHECK(load([](auto& s) { s.scalars[0].first = "2.lr"; }).find("[Joint] got state '2.lr'") == 0);
  // The first part fits and the second does not: the first keeps what it had.
  two->set_lr(0.5);
  CHECK(load([](auto& s) { s.tensors.back().second = Tensor<float>::zeros({9}); }).find("[Adam]") == 0);
  CHECK(two->lr() == 0.5);
  CHECK(load([](auto&) {}) == "no error");
  CHECK(two->lr() == 0.1);
}

TEST_CASE("nothing to join, and groups without an owner, are refused", "[optim]") {
  CHECK_THROWS_AS(optim::Joint<float>({}), ValueError);
  std::vector<std::unique_ptr<optim::Optimizer<float>>> null(1);
  CHECK_THROWS_AS(optim::Joint<float>(std::move(null)), ValueError);
  const Pair p;
  const auto joint = joined(p);
  CHECK_THROWS_AS(joint->add_group({{p.a}}), ValueError);
}

}  // namespace qdistill_test
