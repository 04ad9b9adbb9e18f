#include "qdistill/encoding/network.hpp"

#include <catch2/catch.hpp>

using namespace qdistill;

namespace {

Network small_network() {
  Network net;
  net.input_shape = {3, 8, 8};
  int x = net.add("conv2d", {0}, {{"stride", std::vector<Index>{1, 1}}, {"padding", 2}, {"eps", 1e-5}, {"bias", true}},
                  {{"weight", "conv1.weight"}});
  const int y = net.add("relu", {x});
  x = net.add("add", {x, y}, {{"mode", "plain"}});
  return net;
}

template <class F>
Network changed_network(F&& change) {
  Network net = small_network();
  change(net);
  return net;
}

}  // namespace

TEST_CASE("network: built step by step, read back by type", "[network]") {
  const Network net = small_network();
  CHECK_NOTHROW(validate(net));
  CHECK_NOTHROW(validate(Network{}));
  CHECK(net.output == 3);
  CHECK(net.ops[2].inputs == std::vector<int>{1, 2});
  const NetworkOp& conv = net.ops[0];
  CHECK(conv.get<std::int64_t>("padding") == 2);
  CHECK(conv.get<double>("eps") == 1e-5);
  CHECK(conv.get<bool>("bias"));
  CHECK(conv.get<std::vector<Index>>("stride") == std::vector<Index>{1, 1});
  CHECK(net.ops[2].get<std::string>("mode") == "plain");
  CHECK(conv.get_or<std::int64_t>("groups", 1) == 1);
  CHECK(conv.tensor("weight") == "conv1.weight");
  CHECK_THROWS_WITH(conv.tensor("bias"), "[conv2d] got no tensor for 'bias', expected one");
  CHECK_THROWS_AS(conv.get<double>("padding"), ValueError);
  CHECK_THROWS_AS(conv.get<double>("missing"), ValueError);
  CHECK(net == small_network());
}

TEST_CASE("network: what is not well formed is refused", "[network]") {
  using N = Network;
  CHECK_THROWS_WITH(changed_network([](N& n) { n.add("relu", {4}); }), "[relu] got input value 4, expected 0 to 3");
  CHECK_THROWS_AS(changed_network([](N& n) { n.add("relu", {-1}); }), ValueError);
  CHECK_THROWS_AS(validate(changed_network([](N& n) { n.version = 2; })), ValueError);
  CHECK_THROWS_AS(validate(changed_network([](N& n) { n.version = 0; })), ValueError);
  CHECK_THROWS_AS(validate(changed_network([](N& n) { n.ops[1].inputs = {2}; })), ValueError);
  CHECK_THROWS_AS(validate(changed_network([](N& n) { n.ops[0].inputs = {3}; })), ValueError);
  CHECK_THROWS_AS(validate(changed_network([](N& n) { n.ops[0].inputs = {-1}; })), ValueError);
  CHECK_THROWS_AS(validate(changed_network([](N& n) { n.ops[1].output = 1; })), ValueError);
  CHECK_THROWS_AS(validate(changed_network([](N& n) { n.ops[1].op.clear(); })), ValueError);
  CHECK_THROWS_AS(validate(changed_network([](N& n) { n.ops[0].tensors["weight"] = ""; })), ValueError);
  CHECK_THROWS_AS(validate(changed_network([](N& n) { n.ops[0].attributes["eps"] = std::nan(""); })), ValueError);
  CHECK_THROWS_AS(validate(changed_network([](N& n) { n.output = 4; })), ValueError);
  CHECK_THROWS_AS(validate(changed_network([](N& n) { n.output = -1; })), ValueError);
  CHECK_THROWS_AS(validate(changed_network([](N& n) { n.input_shape = {3, 0, 8}; })), ShapeError);
}
