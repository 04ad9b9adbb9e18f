/// Sensitivities against networks quantized by hand, a network left as it was, and what is made of the figures.
#include "qdistill/distill/layer_report.hpp"

#include <catch2/catch.hpp>

#include "../train/xml_check.hpp"
#include "qdistill/data/digits.hpp"
#include "qdistill/models/polino_cnn.hpp"
#include "qdistill/nn/linear.hpp"
#include "qdistill/ops/arithmetic.hpp"
#include "qdistill/ops/view.hpp"
#include "qdistill/quant/attach.hpp"
#include "qdistill/quant/diffq.hpp"
#include "qdistill/quant/half.hpp"
#include "qdistill/quant/points.hpp"
#include "qdistill/quant/product.hpp"
#include "qdistill/quant/projected.hpp"
#include "qdistill/quant/uniform.hpp"
#include "stop_after.hpp"

namespace qdistill_test {

using namespace qdistill;

namespace {

/// Two layers side by side, of which the second has no say. The `fails`th forward throws.
struct OneMatters : nn::Module<float> {
  nn::Linear<float>& a = add("a", nn::Linear<float>(3 * 32 * 32, 10));
  nn::Linear<float>& b = add("b", nn::Linear<float>(3 * 32 * 32, 10));
  int fails = 0;
  Tensor<float> forward(const Tensor<float>& x) override {
    if (fails > 0 && --fails == 0) fail("test", "no more");
    const Tensor<float> flat = flatten(x, 1);
    return add_scaled(a(flat), b(flat));
  }
  static Tensor<float> add_scaled(const Tensor<float>& p, const Tensor<float>& q) {
    return qdistill::add(p, mul(q, 0.0));
  }
  const char* type() const noexcept override { return "OneMatters"; }
};

models::PolinoCnn<float> convnet(std::uint64_t seed = 4) {
  manual_seed(seed);
  models::PolinoCnn<float> net({.name = "tiny",
                                .kernel = 3,
                                .convs = {4, 6},
                                .pool_after = {0, 1},
                                .linear = {12},
                                .dropout = {{0, .2}, {2, .3}}});
  return net;
}

struct Digits {
  const data::ImageSet set = data::make_digits({.count = 40, .seed = 3});
  data::DataLoader loader{set, {.batch_size = 16}};
};

/// Everything that a pass could change.
struct State {
  std::vector<std::vector<float>> values;
  std::vector<Index> counts;
  std::vector<const void*> parametrizations;
  std::vector<bool> modes;
  std::uint64_t counter = default_generator().counter();
  explicit State(nn::Module<float>& net) {
    for (const auto& e : nn::state_dict(net)) {
      if (e.values.defined()) values.push_back(e.values.to_vector());
      else counts.push_back(e.count.item());
    }
    for (const auto& [name, p] : net.named_parameters()) {
      parametrizations.push_back(p->parametrization().get());
      values.push_back(decode_ref(p->encode()));
    }
    walk(net);
  }
  void walk(const nn::Module<float>& m) {
    modes.push_back(m.training());
    for (const auto& c : m.children()) walk(*c.module);
  }
  bool operator==(const State&) const = default;
};

bool same(const train::Tally& a, const train::Tally& b) {
  return a.images == b.images && a.correct == b.correct && a.loss_sum == b.loss_sum;
}

}  // namespace

TEST_CASE("sensitivity: only one layer matters", "[distill]") {
  manual_seed(1);
  Digits digits;
  OneMatters net;
  quant::attach(net, quant::Uniform{.bits = 1, .bucket_size = 0}, quant::weights_only());
  const auto s = distill::sensitivity(net, digits.loader, {.images = 0});
  REQUIRE(s.tensors.size() == 2);
  CHECK(s.tensors[0].name == "a.weight");
  CHECK(s.tensors[1].name == "b.weight");
  CHECK(s.loss_rise(*s.find("b.weight")) == 0);
  CHECK(s.accuracy_fall(*s.find("b.weight")) == 0);
  CHECK(s.loss_rise(*s.find("a.weight")) != 0);
  CHECK(same(*s.find("a.weight"), s.quantized));
  CHECK(s.find("a.bias") == nullptr);
  CHECK(!s.interrupted);
  CHECK(same(s.quantized, train::evaluate(net, digits.loader)));
  quant::detach(net);
  CHECK(same(s.full, train::evaluate(net, digits.loader)));
}

TEST_CASE("sensitivity: each tensor as if it had been quantized alone", "[distill]") {
  Digits digits;
  auto net = convnet();
  quant::attach(net, quant::DiffQ{.group_size = 0, .init_bits = 2.4}, quant::weights_only());
  quant::attach(net, quant::Half{}, quant::not_quantized());
  const auto s = distill::sensitivity(net, digits.loader);
  CHECK(s.full.images == 40);
  REQUIRE(s.tensors.size() == net.named_parameters().size());
  int costly = 0;
  for (const auto& t : s.tensors) {
    INFO(t.name);
    auto alone = convnet();
    const auto p = quant::selected(alone, quant::named(t.name)).at(0).parameter;
    if (p->kind() == nn::Kind::weight)
      quant::attach(alone, quant::DiffQ{.group_size = 0, .init_bits = 2.4}, quant::named(t.name));
    else quant::attach(alone, quant::Half{}, quant::named(t.name));
    CHECK(same(t.alone, train::evaluate(alone, digits.loader)));
    costly += s.loss_rise(t.alone) != 0;
  }
  CHECK(costly >= 4);
}

TEST_CASE("sensitivity: a bounded number of images, any number of threads", "[distill]") {
  Digits digits;
  auto net = convnet();
  quant::attach(net, quant::Uniform{.bits = 2}, quant::weights_only());
  const auto some = distill::sensitivity(net, digits.loader, {.select = quant::named("*"), .images = 21});
  train::Tally by_hand;
  net.eval();
  digits.loader.seek({0, 0});
  train::tally_batch(by_hand, net, digits.loader.next());
  data::DataLoader one(digits.set, {.batch_size = 1});
  for (Index i = 0; i < 21; ++i) {
    const data::Batch& b = one.next();
    if (i >= 16) train::tally_batch(by_hand, net, b);
  }
  CHECK(some.quantized.images == 21);
  CHECK(some.quantized.correct == by_hand.correct);
  CHECK(some.quantized.loss() == Approx(by_hand.loss()));
  const int before = num_threads();
  for (const int threads : {1, 4}) {
    set_num_threads(threads);
    const auto again = distill::sensitivity(net, digits.loader, {.images = 21});
    for (const auto& t : some.tensors) CHECK(same(t.alone, *again.find(t.name)));
  }
  set_num_threads(before);
}

TEST_CASE("sensitivity: the network is left as it was, also when it stops or throws", "[distill]") {
  Digits digits;
  const auto reference = nn::state_dict(convnet(9));
  auto net = convnet();
  quant::attach(net, quant::Points{.bits = 2}, quant::weights_only());
  quant::attach(net, quant::Projected{.quantizer = {.bits = 5, .rounding = quant::Rounding::stochastic}},
                [](const quant::Candidate& c) { return c.kind == nn::Kind::norm_weight; });
  quant::attach(net, quant::Half{}, quant::not_quantized());
  net.train();
  net(data::to_tensors(digits.loader.next()).images);  // running statistics that are not their first values
  net.children().front().module->eval();               // as a frozen batch norm is
  const State before(net);
  distill::sensitivity(net, digits.loader);
  CHECK(State(net) == before);
  distill::sensitivity(net, digits.loader, {.reference = reference});
  CHECK(State(net) == before);

  for (const int steps : {1, 3, 5, 12}) {
    StopAfter sink(steps);
    const auto s = distill::sensitivity(net, digits.loader, {.stop = &sink.stop, .progress = &sink});
    CHECK(s.interrupted);
    CHECK(s.full.images == (steps < 3 ? 0 : 40));
    CHECK(static_cast<int>(s.tensors.size()) == (steps < 6 ? 0 : 3));
    CHECK(State(net) == before);
  }
  OneMatters other;
  quant::attach(other, quant::Uniform{.bits = 4});
  const State whole(other);
  for (const int pass : {1, 5, 8, 18}) {
    other.fails = pass;
    CHECK_THROWS_AS(distill::sensitivity(other, digits.loader), ValueError);
    CHECK(State(other) == whole);
  }
}

TEST_CASE("sensitivity: against a reference, statistics included", "[distill]") {
  Digits digits;
  auto net = convnet();
  auto original = convnet();
  original.train();
  original(data::to_tensors(digits.loader.next()).images);
  quant::attach(net, quant::Product{.codewords = 4}, quant::weights_only());
  const char* const first = "[sensitivity] got no full-precision weight for ";
  CHECK_THROWS_WITH(distill::sensitivity(net, digits.loader), Catch::StartsWith(first) &&
                                                                  Catch::Contains("of shape [10, 12] (product, ") &&
                                                                  Catch::Contains("HINT: give nn::state_dict"));
  const auto s = distill::sensitivity(net, digits.loader, {.reference = nn::state_dict(original)});
  CHECK(same(s.full, train::evaluate(original, digits.loader)));
  CHECK(same(s.quantized, train::evaluate(net, digits.loader)));
  CHECK(s.loss_rise(s.tensors.at(0).alone) != 0);

  auto reference = nn::state_dict(original);
  for (auto& e : reference)
    if (e.name.find("running_var") != std::string::npos) e.values = Tensor<float>::ones({7});
  CHECK_THROWS_AS(distill::sensitivity(net, digits.loader, {.reference = reference}), ShapeError);
  CHECK_THROWS_WITH(distill::sensitivity(net, digits.loader, {.reference = reference}),
                    Catch::Contains("running_var' has shape [7], expected [4]"));
  reference.resize(1);
  CHECK_THROWS_WITH(distill::sensitivity(net, digits.loader, {.reference = reference}),
                    Catch::Contains("got a reference of 1 tensors without '"));
}

TEST_CASE("sensitivity: what it refuses", "[distill]") {
  Digits digits;
  auto net = convnet();
  CHECK_THROWS_AS(distill::sensitivity(net, digits.loader), ValueError);  // nothing attached
  quant::attach(net, quant::Uniform{});
  CHECK_THROWS_WITH(distill::sensitivity(net, digits.loader, {.select = quant::named("none")}),
                    Catch::StartsWith("[sensitivity] the selection chose no parameter that carries a quantizer, of "));
  CHECK_THROWS_AS(distill::sensitivity(net, digits.loader, {.images = -1}), ValueError);
}

TEST_CASE("layer report: table, CSV, JSON and pictures say the same", "[distill]") {
  manual_seed(1);
  Digits digits;
  OneMatters net;
  net.a.weight->data().copy_from(Tensor<float>::normal({10, 3072}, {1, 1}, 0.0f, 0.01f));  // for Huffman's sake
  const auto reference = nn::state_dict(net);
  quant::attach(net, quant::DiffQ{.group_size = 8}, quant::named("a.weight"));
  quant::attach(net, quant::Product{.codewords = 16, .linear = 2}, quant::named("b.weight"));
  Tensor<float> wider = net.a.weight->parametrization()->stored()[1].tensor;
  for (Index i = 0; i < wider.numel(); i += 2) wider.data()[i] = -2;
  wider.mark_changed();
  const auto layers = quant::layer_table(net);
  const auto s = distill::sensitivity(net, digits.loader, {.reference = reference});

  const train::Table table = distill::to_table(layers, s);
  REQUIRE(table.rows() == 7);  // 4 tensors, their sum, Huffman tables, all
  CHECK(table.cell(5, 0).string == "Huffman tables");
  const auto column = [&](const std::string& name) {
    for (std::size_t c = 0; c < table.columns().size(); ++c)
      if (table.columns()[c].name == name) return c;
    FAIL("no column " << name);
    return std::size_t{0};
  };
  const auto& a = layers.layers[0];
  CHECK(table.shown(0, column("tensor")) == "a.weight");
  CHECK(table.shown(0, column("shape")) == "[10, 3072]");
  CHECK(table.shown(0, column("encoding")) == "grouped");
  CHECK(table.cell(0, column("bits")).value == a.bits());
  CHECK(table.cell(0, column("least")).integer == a.least_bits);
  CHECK(table.cell(0, column("most")).integer == a.most_bits);
  CHECK(a.least_bits < a.most_bits);
  CHECK(table.cell(0, column("bytes")).integer == a.plain.total());
  CHECK(table.cell(0, column("SQNR")).value == a.sqnr_db);
  CHECK(table.cell(0, column("loss rise")).value == s.loss_rise(s.tensors[0].alone));
  CHECK(table.cell(2, column("bits")).value == 2);
  CHECK(table.shown(2, column("least")).empty());
  CHECK(table.cell(2, column("code bits")).value == 4);
  CHECK(table.cell(2, column("weights a code")).integer == 2);
  CHECK(table.shown(2, column("SQNR")) == "–");
  CHECK(table.shown(1, column("SQNR")) == "inf");
  CHECK(table.shown(1, column("loss rise")).empty());
  CHECK(table.shown(1, column("levels")).empty());
  CHECK(table.right_aligned(column("SQNR")));
  CHECK(table.cell(4, column("weights")).integer == 2 * 30720 + 20);
  Index bytes = 0;
  for (std::size_t r = 0; r < 4; ++r) bytes += table.cell(r, column("bytes")).integer;
  CHECK(table.cell(4, column("bytes")).integer == bytes);
  CHECK(table.cell(table.rows() - 1, column("bytes")).integer == layers.plain_bytes());
  CHECK(table.cell(table.rows() - 1, column("Huffman")).integer == layers.coded_bytes());
  CHECK(table.cell(table.rows() - 1, column("loss rise")).value == s.loss_rise(s.quantized));
  CHECK(xml_check::count(table.csv(), "\n") == table.rows() + 1);
  CHECK(
      table.csv().find("tensor,kind,shape,weights,encoding,bits,least,most,code bits,weights a code,stored bits,bytes,"
                       "Huffman (bytes),SQNR (dB),levels,used,largest (%),loss rise,accuracy fall (%)\n"
                       "a.weight,weight,\"[10, 3072]\",30720,grouped,") == 0);

  const train::Json j = train::parse_json(train::json_line(distill::to_json(layers, s)), "test");
  REQUIRE(j.at("layers").size() == 4);
  const auto& first = j["layers"][0];
  CHECK(first.at("tensor") == "a.weight");
  CHECK(first.at("quantizer") == a.quantizer);
  CHECK(first.at("sqnr_db").get<double>() == a.sqnr_db);
  CHECK(first.at("huffman_bytes") == a.coded.total());
  CHECK(first.at("sensitivity").at("loss_rise").get<double>() == s.loss_rise(s.tensors[0].alone));
  CHECK(j["layers"][1].at("sqnr_db") == "inf");
  CHECK(!j["layers"][1].contains("sensitivity"));
  CHECK(j["layers"][2].at("sqnr_db").is_null());
  CHECK(j["layers"][2].at("levels").at("all") == 16);
  CHECK(j.at("all_tensors").at("huffman_bytes") == layers.coded_bytes());
  CHECK(j.at("sensitivity").at("images") == 40);

  const train::Table plain = distill::to_table(layers);
  CHECK(plain.csv().find("loss rise") == std::string::npos);
  CHECK(!distill::to_json(layers).contains("sensitivity"));
  const std::string bits = distill::bits_chart(layers).text, costs = distill::sensitivity_chart(s).text;
  CHECK(xml_check::problem(bits) == "");
  CHECK(xml_check::problem(costs) == "");
  CHECK(xml_check::count(bits, "<rect class=\"qp-bg\"") == 1);
  CHECK(xml_check::count(bits, "<rect x=") == 2);
  CHECK(bits.find("20 without codes") != std::string::npos);
  CHECK(xml_check::count(costs, "<rect x=") == 2);
  quant::detach(net);
  const auto bare = distill::to_table(quant::layer_table(net));
  CHECK(bare.rows() == 6);
  CHECK(bare.csv().find("least") == std::string::npos);
  CHECK(distill::bits_chart(quant::layer_table(net)).text.find("no data") != std::string::npos);
}

}  // namespace qdistill_test
