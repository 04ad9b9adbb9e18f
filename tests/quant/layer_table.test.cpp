/// The table of layers: exact figures of tiny tensors, sums against the packed file's ledger, every quantizer.
#include "qdistill/quant/layer_table.hpp"

#include <catch2/catch.hpp>

#include "../docs/example_quantizer/powers_of_two.hpp"
#include "../io/temporary_folder.hpp"
#include "one_weight.hpp"
#include "qdistill/nn/activation.hpp"
#include "qdistill/nn/batch_norm.hpp"
#include "qdistill/nn/conv.hpp"
#include "qdistill/nn/linear.hpp"
#include "qdistill/nn/sequential.hpp"
#include "qdistill/nn/shape.hpp"
#include "qdistill/quant/attach.hpp"
#include "qdistill/quant/binary_connect.hpp"
#include "qdistill/quant/diffq.hpp"
#include "qdistill/quant/dorefa.hpp"
#include "qdistill/quant/half.hpp"
#include "qdistill/quant/lsq.hpp"
#include "qdistill/quant/pack.hpp"
#include "qdistill/quant/points.hpp"
#include "qdistill/quant/product.hpp"
#include "qdistill/quant/projected.hpp"
#include "qdistill/quant/quant_noise.hpp"
#include "qdistill/quant/ternary.hpp"
#include "qdistill/quant/uniform.hpp"
#include "qdistill/quant/weight_sharing.hpp"

namespace qdistill_test {

using namespace qdistill;

namespace {

/// The figures of one tensor with `quantizer` on it.
template <class Q>
quant::LayerFigures figures(Tensor<float> w, const Q& quantizer) {
  OneWeight<> m(std::move(w));
  quant::attach(m, quantizer);
  return quant::layer_table(m).layers.at(0);
}

/// Tensors of all kinds: weights, biases, batch norm, running statistics. Weights are normal, so that Huffman codes
/// have something to gain.
nn::Sequential<float> network() {
  nn::Sequential<float> net(nn::Conv2d<float>(3, 24, 3, {.padding = 1}), nn::BatchNorm2d<float>(24), nn::ReLU<float>(),
                            nn::Flatten<float>(), nn::Linear<float>(24 * 16, 40), nn::ReLU<float>(),
                            nn::Linear<float>(40, 10));
  std::uint64_t seed = 0;
  for (const auto& [name, p] : net.named_parameters())
    p->data().copy_from(Tensor<float>::normal(p->shape(), {5, ++seed}, 0.0f, 0.2f));
  return net;
}

/// The definition, from the weight that a layer computes with.
double sqnr_of(nn::Parameter<float>& p, const Tensor<float>& w) {
  double signal = 0, noise = 0;
  const auto q = p.effective(nn::Phase::eval).to_vector(), v = w.to_vector();
  for (std::size_t i = 0; i < v.size(); ++i) {
    signal += double(v[i]) * double(v[i]);
    noise += (double(v[i]) - double(q[i])) * (double(v[i]) - double(q[i]));
  }
  return noise == 0 ? std::numeric_limits<double>::infinity() : 10 * std::log10(signal / noise);
}

Index stored(const Ledger& l) { return l.total() - l.header - l.padding; }

/// Attaches to the weights, and holds the table against the packed file.
template <class Q>
quant::LayerTable check_against_file(const Q& quantizer) {
  const TemporaryFolder folder;
  auto net = network();
  const auto reference = nn::state_dict(network());
  quant::attach(net, quantizer, quant::weights_only());
  const quant::LayerTable table = quant::layer_table(net, {.reference = reference});
  INFO(table.layers[0].quantizer);
  const Ledger plain = quant::save_packed(net, folder / "plain", {3, 4, 4}, {}, {.huffman = false}),
               coded = quant::save_packed(net, folder / "coded", {3, 4, 4});
  CHECK(table.plain_bytes() == stored(plain));
  CHECK(table.coded_bytes() == stored(coded));
  CHECK(table.huffman_tables == coded.huffman_table);
  CHECK(table.other_plain == 2 * 24 * 4);
  CHECK(table.other_coded == 2 * 24 * 4);
  Ledger sum, sum_coded;
  for (const auto& l : table.layers) {
    sum.codes += l.plain.codes, sum.scales += l.plain.scales, sum.tables += l.plain.tables;
    sum.widths += l.plain.widths, sum.full_precision += l.plain.full_precision;
    sum_coded.codes += l.coded.codes, sum_coded.tables += l.coded.tables;
  }
  CHECK(sum.codes == plain.codes);
  CHECK(sum.scales == plain.scales);
  CHECK(sum.tables == plain.tables);
  CHECK(sum.widths == plain.widths);
  CHECK(sum.full_precision + table.other_plain == plain.full_precision);
  CHECK(sum_coded.codes == coded.codes);
  CHECK(sum_coded.tables == coded.tables);

  const auto parameters = net.named_parameters();
  REQUIRE(table.layers.size() == parameters.size());
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const auto& [name, p] = parameters[i];
    const auto& l = table.layers[i];
    INFO(name);
    CHECK(l.name == name);
    CHECK(l.kind == p->kind());
    CHECK(l.shape == p->shape());
    CHECK(l.weights == p->data().numel());
    CHECK(l.stored_bits() == Approx(8.0 * double(stored(l.plain)) / double(l.weights)));
    CHECK(l.sqnr_db == sqnr_of(*p, p->data()));
    const auto q = p->effective(nn::Phase::eval).to_vector();
    if (!p->parametrization()) {
      CHECK(l.quantizer.empty());
      CHECK(l.encoding == "float32");
      CHECK(l.bits() == 32);
      CHECK(l.plain.total() == 4 * l.weights);
      CHECK(l.usage.points == 0);
      CHECK(l.sqnr_db == std::numeric_limits<double>::infinity());
    } else {
      CHECK(l.quantizer == p->parametrization()->description());
      CHECK(l.least_bits <= l.code_bits);
      CHECK(l.code_bits <= l.most_bits);
      CHECK(l.usage.used <= l.usage.points);
      CHECK(l.usage.weights * l.block == (l.usage.points > 0 ? l.weights : 0));
      CHECK(l.bits() < 32);
      CHECK(l.stored_bits() >= l.bits());
    }
  }
  return table;
}

}  // namespace

TEST_CASE("layer table: every quantizer, bytes as in the packed file", "[quant]") {
  const auto uniform = check_against_file(quant::Uniform{.bits = 4, .bucket_size = 256});
  CHECK(uniform.layers[0].encoding == "uniform");
  CHECK(uniform.layers[0].bits() == 4);
  CHECK(uniform.layers[0].plain.scales == 3 * 2 * 4);  // 648 weights
  CHECK(uniform.huffman_tables > 0);
  CHECK(check_against_file(quant::Uniform{.bits = 2, .bucket_size = 0}).layers[0].plain.scales == 8);
  check_against_file(quant::Uniform{.bits = 3, .bucket_size = 64, .scaling = Scaling::absmax});
  check_against_file(quant::Uniform{.bits = 3, .bucket_size = 64, .subtract_mean = true});
  check_against_file(quant::Points{.count = 11, .bucket_size = 100});
  check_against_file(quant::DiffQ{.group_size = 4, .init_bits = 5});
  check_against_file(quant::Product{.codewords = 32});
  check_against_file(quant::WeightSharing{.bits = 5});
  check_against_file(quant::Half{});
  check_against_file(quant::Ternary{});
  check_against_file(quant::Lsq{.bits = 3});
  check_against_file(quant::DoReFa{.bits = 3});
  check_against_file(quant::BinaryConnect{});
  check_against_file(quant::Projected{});
  check_against_file(quant::QuantNoise<quant::Product>{.inner = {.codewords = 16}});
  check_against_file(quant::PowersOfTwo{.bits = 4});  // of the documentation: nothing here knows it
}

TEST_CASE("layer table: exact figures of tiny tensors", "[quant]") {
  const auto u =
      figures(Tensor<float>::from({0, 1, 2, 3, 0}), quant::Uniform{.bits = 1, .bucket_size = 0});  // 0 0 3 3 0
  CHECK(u.bits() == 1);
  CHECK(u.plain.codes == 1);
  CHECK(u.plain.total() == 1 + 8);
  CHECK(u.stored_bits() == 8 * 9 / 5.0);
  CHECK(u.sqnr_db == Approx(10 * std::log10(14.0 / 2)));
  CHECK(u.usage.points == 2);
  CHECK(u.usage.used == 2);
  CHECK(u.usage.largest_share() == 0.6);
  const auto two = figures(Tensor<float>::from({0, 1, 2, 3, 5}), quant::Uniform{.bits = 1, .bucket_size = 2});
  CHECK(two.plain.scales == 3 * 2 * 4);
  CHECK(two.sqnr_db == std::numeric_limits<double>::infinity());

  OneWeight<> diffq(Tensor<float>::from({-1, -0.5, 0, 0.25, 0.5, 1, 0.75, -0.75}));
  const quant::DiffQ settings{.group_size = 2};
  const auto logit = [](double bits) { return float(std::log((bits - 2) / (15 - bits))); };
  diffq.w->set_parametrization(std::make_shared<quant::DiffQParametrization<float>>(
      settings, diffq.w->data(), Tensor<float>::from({logit(3), logit(6.8), logit(3), logit(4.2)})));
  const auto g = quant::layer_table(diffq).layers.at(0);
  CHECK(g.encoding == "grouped");
  CHECK(g.bits() == (3 + 7 + 3 + 4) / 4.0);
  CHECK(g.least_bits == 3);
  CHECK(g.most_bits == 7);
  CHECK(g.plain.codes == 2 + 1 + 2);  // 4 codes of 3 bits, 2 of 4, 2 of 7
  CHECK(g.plain.widths == (4 * 3 + 7) / 8);
  CHECK(g.usage.points == 8 + 16 + 128);
  CHECK(g.sqnr_db == Approx(sqnr_of(*diffq.w, diffq.w->data())));
  CHECK(g.sqnr_db > 10);

  const auto p = figures(Tensor<float>::from({0, 0.1f, 0.9f, 1}), quant::Points{.count = 5, .bucket_size = 0});
  CHECK(p.encoding == "table");
  CHECK(p.bits() == 3);
  CHECK(p.usage.points == 5);
  CHECK(p.usage.weights == 4);
  CHECK(p.plain.total() == 2 + 5 * 4 + 8);

  const auto h = figures(Tensor<float>::from({1, 0.1f}), quant::Half{});
  CHECK(h.encoding == "float16");
  CHECK(h.bits() == 16);
  CHECK(h.plain.total() == 4);
  const double e = double(0.1f) - double(round_to_half(0.1f));
  CHECK(h.sqnr_db == Approx(10 * std::log10((1 + double(0.1f) * double(0.1f)) / (e * e))));
}

TEST_CASE("layer table: product codes need the unquantized network", "[quant]") {
  manual_seed(3);
  const Tensor<float> w = Tensor<float>::normal({8, 12}, {1, 2});
  OneWeight<> net(w.clone()), original(w.clone());
  quant::attach(net, quant::Product{.codewords = 2, .linear = 4});
  const auto alone = quant::layer_table(net).layers.at(0);
  CHECK(std::isnan(alone.sqnr_db));
  CHECK(alone.block == 4);
  CHECK(alone.code_bits == 1);
  CHECK(alone.bits() == 0.25);
  CHECK(alone.plain.codes == 3);
  CHECK(alone.plain.tables == 2 * 4 * 2);
  CHECK(alone.usage.weights == 24);
  CHECK(alone.usage.points == 2);
  const auto beside = quant::layer_table(net, {.reference = nn::state_dict(original)}).layers.at(0);
  CHECK(beside.sqnr_db == sqnr_of(*net.w, w));
  // A quantizer that keeps the weight is not compared with the reference.
  OneWeight<> other(Tensor<float>::zeros({8, 12}));
  quant::attach(net, quant::Uniform{.bits = 4});
  CHECK(quant::layer_table(net, {.reference = nn::state_dict(other)}).layers[0].sqnr_db == sqnr_of(*net.w, w));
}

TEST_CASE("layer table: no quantizer, zeros, nothing, doubles, shared weights", "[quant]") {
  const double inf = std::numeric_limits<double>::infinity();
  auto net = network();
  const auto bare = quant::layer_table(net);
  CHECK(bare.plain_bytes() == bare.coded_bytes());
  CHECK(bare.huffman_tables == 0);
  for (const auto& l : bare.layers) CHECK((l.sqnr_db == inf && l.bits() == 32 && l.coded == l.plain));

  const auto zeros = figures(Tensor<float>::zeros({6}), quant::Uniform{});
  CHECK(zeros.sqnr_db == inf);
  CHECK(zeros.usage.largest_share() == 1);
  const auto signs = figures(Tensor<float>::zeros({6}), quant::BinaryConnect{});
  CHECK(signs.sqnr_db == -inf);  // became ones
  for (const auto& none :
       {figures(Tensor<float>::zeros({0, 3}), quant::Uniform{}), figures(Tensor<float>::zeros({0}), quant::DiffQ{})}) {
    CHECK(none.weights == 0);
    CHECK(none.stored_bits() == 0);
    CHECK(none.usage.largest_share() == 0);
    CHECK(none.sqnr_db == inf);
  }
  CHECK_THROWS_AS(quant::sqnr_db<float>(std::vector<float>(3), std::vector<float>(2)), ShapeError);
  CHECK(std::isnan(quant::layer_table(OneWeight<>(Tensor<float>::from({1, std::nanf("")}))).layers[0].sqnr_db));

  OneWeight<double> wide(Tensor<double>::from({0.1, 0.2}));  // stored in float
  CHECK(quant::layer_table(wide).layers[0].sqnr_db > 140);
  CHECK(quant::layer_table(wide).layers[0].sqnr_db < 170);

  const nn::Linear<float> first(16, 16);
  nn::Sequential<float> tied(nn::Linear<float>(first.weight, first.bias), nn::Linear<float>(first.weight));
  quant::attach(tied, quant::Uniform{.bits = 8});
  const auto shared = quant::layer_table(tied);
  REQUIRE(shared.layers.size() == 2);
  CHECK(shared.plain_bytes() == 256 + 8 + 16 + 8);
}

TEST_CASE("layer table: a choice of tensors, whose bytes are those of the whole file", "[quant]") {
  auto net = network();
  quant::attach(net, quant::Uniform{.bits = 4}, quant::weights_only());
  const auto all = quant::layer_table(net);
  const auto some = quant::layer_table(net, {.select = quant::named("4.*")});
  REQUIRE(some.layers.size() == 2);
  CHECK(some.layers[0].name == "4.weight");
  CHECK(some.layers[0].coded == all.layers[4].coded);
  CHECK(some.plain_bytes() == all.plain_bytes());
  CHECK(some.coded_bytes() == all.coded_bytes());
  CHECK(some.other_plain > all.other_plain);
}

TEST_CASE("layer table: leaves the network as it was", "[quant]") {
  auto net = network();
  quant::attach(net, quant::Points{.bits = 3}, quant::weights_only());
  const auto bits = [&] {
    std::vector<std::vector<float>> out;
    for (const auto& e : nn::state_dict(net)) out.push_back(e.values.to_vector());
    return out;
  };
  const auto before = bits();
  const auto counter = default_generator().counter();
  quant::layer_table(net);
  CHECK(bits() == before);
  CHECK(default_generator().counter() == counter);
  CHECK(net.training());
}

TEST_CASE("layer table: what it refuses", "[quant]") {
  auto net = network();
  CHECK_THROWS_WITH(quant::layer_table(net, {.select = quant::named("none")}),
                    "[layer_table] the selection chose none of the 8 parameters");
  auto reference = nn::state_dict(network());
  for (auto& e : reference)
    if (e.name == "4.weight") e.values = Tensor<float>::zeros({40, 3});
  CHECK_THROWS_AS(quant::layer_table(net, {.reference = reference}), ShapeError);
  CHECK_THROWS_WITH(quant::layer_table(net, {.reference = reference}),
                    "[layer_table] got a reference whose '4.weight' has shape [40, 3], expected [40, 384]");
  CHECK_NOTHROW(quant::layer_table(net, {.select = quant::named("0.*"), .reference = reference}));
  reference.resize(3);
  CHECK_THROWS_AS(quant::layer_table(net, {.reference = reference}), ValueError);
  CHECK_THROWS_WITH(quant::layer_table(net, {.reference = reference}),
                    "[layer_table] got a reference of 3 tensors without '1.bias' of shape [24]");
  OneWeight<> bad(Tensor<float>::from({1, std::nanf("")}));
  quant::attach(bad, quant::Uniform{});
  CHECK_THROWS_AS(quant::layer_table(bad), ValueError);
}

}  // namespace qdistill_test
