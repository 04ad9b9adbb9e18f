/// The quantizer of docs/add-a-quantizer.md: attached, trained, packed and run, with no line outside its file.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cstring>

#include "example_quantizer/powers_of_two.hpp"
#include "qdistill/nn/activation.hpp"
#include "qdistill/nn/linear.hpp"
#include "qdistill/nn/sequential.hpp"
#include "qdistill/ops/losses.hpp"
#include "qdistill/optim/sgd.hpp"
#include "qdistill/quant/attach.hpp"
#include "qdistill/quant/pack.hpp"
#include "qdistill/runtime/model.hpp"

namespace qdistill_test {

using namespace qdistill;

TEST_CASE("docs/add-a-quantizer.md: the example quantizer trains, packs and runs", "[docs]") {
  manual_seed(3);
  const Tensor<float> x = Tensor<float>::uniform({64, 6}, {1, 1}, -1.0f, 1.0f);
  const Tensor<float> target = Tensor<float>::uniform({64, 2}, {1, 2}, -1.0f, 1.0f);
  // [snippet use quantizer]
  nn::Sequential<float> model(nn::Linear<float>(6, 16), nn::ReLU<float>(), nn::Linear<float>(16, 2));
  quant::attach(model, quant::PowersOfTwo{.bits = 4}, quant::weights_only());
  optim::SGD<float> sgd(model.parameters(), {.lr = 0.1, .momentum = 0.9});
  std::vector<float> losses;
  for (int step = 0; step < 50; ++step) {
    sgd.zero_grad();
    const Tensor<float> loss = mse_loss(model(x), target);
    losses.push_back(loss.item());
    loss.backward();
    sgd.step();
  }
  const io::PackedModel packed = quant::pack(model, {6});
  const runtime::Model small = runtime::Model::from(packed);
  // [end]
  CHECK(*std::min_element(losses.begin() + 40, losses.end()) < 0.9f * losses.front());
  model.eval();
  const NoGrad no_grad;
  const auto here = model(x).to_vector(), there = small.run(x).to_vector();
  REQUIRE(here.size() == there.size());
  CHECK(std::memcmp(here.data(), there.data(), here.size() * sizeof(float)) == 0);
  const auto weight = packed.tensors.at("0.weight");
  REQUIRE(std::holds_alternative<TableEncoding>(weight.data));
  for (const float v : decode_ref(weight)) {
    int exponent = 0;
    CHECK(std::abs(std::frexp(v, &exponent)) == 0.5f);
  }
  CHECK_THROWS_AS(quant::attach(model, quant::PowersOfTwo{.bits = 7}), ValueError);
  CHECK_THROWS_AS(quant::attach(model, quant::PowersOfTwo{.bits = 0}), ValueError);
}

}  // namespace qdistill_test
