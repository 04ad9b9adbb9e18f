/// The runtime on networks that no class of ours wrote: files of the format's first version, networks with unused
/// parts, damaged and hostile ones.
#include "qdistill/runtime/model.hpp"

#include <catch2/catch.hpp>
#include <thread>

using namespace qdistill;

namespace {

using Ints = std::vector<Index>;

std::string formats_path(const std::string& file) {
#if defined(QDISTILL_TEST_DIR)
  return std::string(QDISTILL_TEST_DIR) + "/formats/" + file;
#else
  return "tests/formats/" + file;
#endif
}

Encoding dense(const Shape& shape, std::uint64_t seed) {
  const Tensor<float> t = Tensor<float>::uniform(shape, {seed, 0}, -1.0f, 1.0f);
  return {{shape.begin(), shape.end()}, DenseEncoding{t.to_vector()}};
}

/// conv (4, 2, 3, 3) -> batch norm -> relu -> max pool -> flatten -> linear, on (2, 6, 6).
io::PackedModel small() {
  io::PackedModel m;
  m.network.input_shape = {2, 6, 6};
  int x = m.network.add("conv2d", {0}, {{"padding", Ints{1, 1}}, {"groups", 1}},
                        {{"weight", "conv.weight"}, {"bias", "conv.bias"}});
  x = m.network.add("batch_norm", {x}, {{"eps", 1e-5}}, {{"running_mean", "mean"}, {"running_var", "var"}});
  x = m.network.add("relu", {x});
  x = m.network.add("max_pool2d", {x}, {{"kernel", Ints{2, 2}}});
  x = m.network.add("flatten", {x});
  m.network.add("linear", {x}, {}, {{"weight", "fc.weight"}});
  m.tensors["conv.weight"] = dense({4, 2, 3, 3}, 1);
  m.tensors["conv.bias"] = dense({4}, 2);
  m.tensors["mean"] = dense({4}, 3);
  m.tensors["var"] = {{4}, DenseEncoding{{1, 2, 3, 4}}};
  m.tensors["fc.weight"] = dense({5, 36}, 4);
  return m;
}

/// One operation on samples of `shape`.
io::PackedModel lone(const char* op, Ints shape, Attributes attributes = {}) {
  io::PackedModel m;
  m.network.input_shape = std::move(shape);
  m.network.add(op, {0}, std::move(attributes));
  return m;
}

template <class F>
std::string message(io::PackedModel model, F&& change) {
  change(model);
  try {
    runtime::Model::from(std::move(model));
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}
std::string message(io::PackedModel model) {
  return message(std::move(model), [](io::PackedModel&) {});
}

}  // namespace

TEST_CASE("runtime: files of the format's first version run", "[runtime][formats]") {
  const io::PackedModel packed = io::load_packed(formats_path("packed_v1_plain.safetensors"));
  const auto values = [&](const char* name) { return decode_ref(packed.tensors.at(name)); };
  const std::vector<float> w = values("conv.weight"), b = values("conv.bias"), fc = values("fc.weight");
  const std::vector<float> scale = values("norm.weight"), shift = values("norm.bias");
  const std::vector<float> mean = values("norm.running_mean"), var = values("norm.running_var");
  const Tensor<float> x = Tensor<float>::uniform({2, 2, 4, 4}, {1, 1}, -1.0f, 1.0f);
  std::vector<double> expected;
  for (Index n = 0; n < 2; ++n) {
    std::vector<double> hidden;
    for (Index o = 0; o < 4; ++o)
      for (Index i = 0; i < 4; ++i)
        for (Index j = 0; j < 4; ++j) {
          double sum = static_cast<double>(b[o]);
          for (Index c = 0; c < 2; ++c)
            for (Index p = 0; p < 3; ++p)
              for (Index q = 0; q < 3; ++q) {
                const Index r = i + p - 1, s = j + q - 1;
                if (r < 0 || r > 3 || s < 0 || s > 3) continue;
                sum += static_cast<double>(w[((o * 2 + c) * 3 + p) * 3 + q] * x.at({n, c, r, s}));
              }
          sum = (sum - static_cast<double>(mean[o])) / std::sqrt(static_cast<double>(var[o]) + 1e-5);
          sum = sum * static_cast<double>(scale[o]) + static_cast<double>(shift[o]);
          hidden.push_back(sum > 0 ? sum : 0);
        }
    for (Index o = 0; o < 60; ++o) {
      double sum = 0;
      for (std::size_t k = 0; k < 64; ++k)
        sum += static_cast<double>(fc[static_cast<std::size_t>(o) * 64 + k]) * hidden[k];
      expected.push_back(sum);
    }
  }
  for (const char* file : {"packed_v1_plain.safetensors", "packed_v1_huffman.safetensors"}) {
    const runtime::Model net = runtime::load(formats_path(file));
    CHECK(net.info().at("note") == "format version 1");
    const Tensor<float> y = net.run(x);
    REQUIRE(y.shape() == Shape{2, 60});
    double worst = 0;
    for (std::size_t i = 0; i < expected.size(); ++i)
      worst = std::max(worst, std::fabs(static_cast<double>(y.data()[i]) - expected[i]) / (1 + std::fabs(expected[i])));
    CHECK(worst < 1e-5);
  }
  CHECK_THROWS_AS(runtime::load(formats_path("no such file")), FileError);
}

TEST_CASE("runtime: average and adaptive pools", "[runtime]") {
  const Tensor<float> x = Tensor<float>::from({1, 2, 3, 4, 5, 6, 7, 8, 9}, {1, 1, 3, 3});
  const auto run = [&](const char* op, Attributes attributes) {
    return runtime::Model::from(lone(op, {1, 3, 3}, std::move(attributes))).run(x).to_vector();
  };
  CHECK(run("avg_pool2d", {{"kernel", Ints{2, 2}}, {"stride", Ints{1, 1}}}) == std::vector<float>{3, 4, 6, 7});
  CHECK(run("avg_pool2d", {{"kernel", Ints{2, 2}}, {"padding", Ints{1, 1}}}) ==
        std::vector<float>{0.25f, 1.25f, 2.75f, 7});
  CHECK(run("avg_pool2d", {{"kernel", Ints{2, 2}}, {"padding", Ints{1, 1}}, {"count_include_pad", false}}) ==
        std::vector<float>{1, 2.5f, 5.5f, 7});
  CHECK(run("avg_pool2d", {{"kernel", Ints{2, 2}}, {"ceil_mode", true}}) == std::vector<float>{3, 4.5f, 7.5f, 9});
  CHECK(run("adaptive_avg_pool2d", {{"output_size", Ints{1, 1}}}) == std::vector<float>{5});
  CHECK(run("adaptive_avg_pool2d", {{"output_size", Ints{2, 2}}}) == std::vector<float>{3, 4, 6, 7});
  CHECK(run("adaptive_max_pool2d", {{"output_size", Ints{2, 2}}}) == std::vector<float>{5, 6, 8, 9});
}

TEST_CASE("runtime: networks without work and with unused parts", "[runtime]") {
  const Tensor<float> x = Tensor<float>::uniform({2, 3}, {1, 2}, -1.0f, 1.0f);
  io::PackedModel m;
  m.network.input_shape = {3};
  Tensor<float> y = runtime::Model::from(m).run(x);
  CHECK(y.to_vector() == x.to_vector());
  CHECK_FALSE(y.shares_storage(x));
  m.network.add("flatten", {0});
  CHECK_FALSE(runtime::Model::from(m).run(x).shares_storage(x));

  // tanh is the output; the linear layer and relu behind it are not needed, and must leave it alone.
  m.network.add("tanh", {0});
  m.network.add("linear", {2}, {}, {{"weight", "w"}});
  m.network.add("relu", {2});
  m.tensors["w"] = dense({4, 3}, 1);
  m.network.output = 2;
  y = runtime::Model::from(m).run(x);
  for (Index i = 0; i < 6; ++i) CHECK(y.data()[i] == Approx(std::tanh(x.data()[i])).margin(1e-6));

  // A product is the output and has a relu behind it.
  m.network.output = 3;
  y = runtime::Model::from(m).run(x);
  CHECK(*std::min_element(y.data(), y.data() + y.numel()) < 0);

  // One value twice.
  io::PackedModel twice;
  twice.network.input_shape = {};
  twice.network.add("add", {0, 0});
  twice.network.add("add", {1, 1});
  CHECK(runtime::Model::from(twice).run(Tensor<float>::from({1, -2, 3})).to_vector() == std::vector<float>{4, -8, 12});
}

TEST_CASE("runtime: values are released after their last use", "[runtime]") {
  io::PackedModel m;
  m.network.input_shape = {1, 64, 64};
  int x = 0;
  for (int i = 0; i < 20; ++i)
    x = m.network.add("max_pool2d", {x}, {{"kernel", Ints{3, 3}}, {"stride", Ints{1, 1}}, {"padding", Ints{1, 1}}});
  const runtime::Model net = runtime::Model::from(m);
  const Tensor<float> in = Tensor<float>::ones({16, 1, 64, 64});
  const std::size_t before = memory_stats().in_use;
  reset_peak_memory();
  CHECK(net.run(in).numel() == in.numel());
  CHECK(memory_stats().peak - before < 3 * static_cast<std::size_t>(in.numel()) * sizeof(float));
  CHECK(memory_stats().in_use == before);
}

TEST_CASE("runtime: one model runs in several threads at a time", "[runtime]") {
  const runtime::Model net = runtime::Model::from(small());
  std::vector<Tensor<float>> in, alone;
  for (std::uint64_t i = 0; i < 4; ++i) {
    in.push_back(Tensor<float>::normal({3, 2, 6, 6}, {9, i}));
    alone.push_back(net.run(in.back()));
  }
  std::vector<int> wrong(4, 0);
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 50; ++i) wrong[t] += net.run(in[t]).to_vector() != alone[t].to_vector();
    });
  for (auto& t : threads) t.join();
  CHECK(wrong == std::vector<int>(4, 0));
}

TEST_CASE("runtime: inputs of another shape are refused", "[runtime]") {
  const runtime::Model net = runtime::Model::from(small());
  CHECK(net.run(Tensor<float>::zeros({1, 2, 6, 6})).shape() == Shape{1, 5});
  CHECK_THROWS_WITH(net.run(Tensor<float>::zeros({1, 2, 6, 7})),
                    "[runtime] got shape [1, 2, 6, 7], expected [N, 2, 6, 6]");
  CHECK_THROWS_AS(net.run(Tensor<float>::zeros({2, 6, 6})), ShapeError);
  CHECK_THROWS_AS(net.run(Tensor<float>::zeros({1, 1, 2, 6, 6})), ShapeError);
  CHECK_THROWS_AS(net.run(Tensor<float>()), ValueError);
}

TEST_CASE("runtime: networks that do not fit together are refused by operation", "[runtime]") {
  const auto refused = [](const std::string& got, const char* part) { CHECK_THAT(got, Catch::Contains(part)); };
  CHECK(message(small()) == "no error");
  const auto changed = [](std::size_t op, const char* attribute, Attribute value) {
    return message(small(), [&](io::PackedModel& m) { m.network.ops[op].attributes[attribute] = std::move(value); });
  };
  const auto renamed = [](std::size_t op, const char* role, const char* name) {
    return message(small(), [&](io::PackedModel& m) { m.network.ops[op].tensors[role] = name; });
  };
  CHECK(message(small(), [](auto& m) { m.network.ops[2].op = "warp"; }) ==
        "[runtime: operation 2 (warp)] got an operation that this version does not know. HINT: use a newer qdistill");
  refused(message(small(), [](auto& m) { m.network.ops[2].inputs = {}; }), "operation 2 (relu)] got 0 inputs");
  refused(message(small(), [](auto& m) { m.network.ops[5].inputs = {5, 5}; }), "operation 5 (linear)] got 2 inputs");
  refused(message(small(), [](auto& m) { m.network.ops[0].inputs = {0, 0, 0}; }), "operation 0 (conv2d)] got 3 inputs");
  refused(message(small(), [](auto& m) { m.network.ops[0].inputs = {7}; }), "input value 7");
  refused(message(small(), [](auto& m) { m.network.input_shape = {2, 6}; }), "expected [C, H, W]");
  refused(message(small(), [](auto& m) { m.network.input_shape = {3, 6, 6}; }), "operation 0 (conv2d)] got a sample");
  refused(message(small(), [](auto& m) { m.network.input_shape = {2, 8, 6}; }), "operation 5 (linear)] got a sample");
  refused(message(small(), [](auto& m) { m.network.input_shape = Ints(8, 1); }), "8 dims without the batch");
  refused(message(small(), [](auto& m) { m.network.input_shape = Ints(3, Index{1} << 40); }), "2^62");
  refused(message(small(), [](auto& m) { m.network.input_shape = {2, 1 << 20, 1 << 20}; }), "at most 2^28");
  refused(message(small(), [](auto& m) { m.network.ops[0].tensors.erase("weight"); }),
          "operation 0 (conv2d)] got no tensor for 'weight'");
  refused(message(small(), [](auto& m) { m.tensors.erase("fc.weight"); }),
          "operation 5 (linear)] got no tensor 'fc.weight' for 'weight'");
  refused(message(small(), [](auto& m) { m.network.ops[1].tensors.erase("running_var"); }), "for 'running_var'");
  refused(message(small(), [](auto& m) { m.network.ops[1].attributes.clear(); }), "no attribute 'eps'");
  refused(message(small(), [](auto& m) { m.network.ops[3].attributes.clear(); }), "no attribute 'kernel'");
  refused(renamed(0, "scale", "conv.bias"), "a role that conv2d does not have");
  refused(renamed(2, "weight", "conv.bias"), "a role that relu does not have");
  refused(renamed(0, "weight", "fc.weight"), "got weight 'fc.weight' of shape [5, 36]");
  refused(renamed(5, "weight", "conv.bias"), "of shape [4], expected [out, in]");
  refused(renamed(5, "bias", "conv.bias"), "got bias 'conv.bias' of 4 elements, expected 5");
  refused(renamed(1, "running_mean", "fc.weight"), "expected one dim");
  refused(changed(0, "groups", 1.0), "got attribute 'groups' of another type, expected a whole number");
  refused(changed(0, "stride", std::int64_t{1}), "'stride' of another type, expected a list");
  refused(changed(0, "stride", Ints{1}), "expected a height and a width");
  refused(changed(0, "stride", Ints{0, 1}), "'stride' with 0");
  refused(changed(0, "stride", Ints{1, -1}), "'stride' with -1");
  refused(changed(0, "padding", Ints{-1, 0}), "'padding' with -1");
  refused(changed(0, "groups", std::int64_t{0}), "'groups' with 0");
  refused(changed(0, "groups", std::int64_t{-2}), "'groups' with -2");
  refused(changed(0, "groups", std::int64_t{3}), "groups 3");
  refused(changed(0, "dilation", Ints{9, 1}), "a kernel that fits");
  refused(changed(1, "eps", -1.0), "got eps -1");
  refused(changed(1, "eps", std::string("small")), "expected a number");
  refused(changed(3, "kernel", Ints{0, 1}), "'kernel' with 0");
  refused(changed(3, "kernel", Ints{9, 9}), "a kernel that fits");
  refused(changed(3, "padding", Ints{2, 0}), "at most half of it");
  refused(changed(3, "ceil_mode", std::int64_t{1}), "expected true or false");
  refused(message(lone("leaky_relu", {3})), "no attribute 'negative_slope'");
  refused(message(lone("elu", {3})), "no attribute 'alpha'");
  refused(message(lone("softplus", {3}, {{"beta", 0.0}})), "got beta 0");
  refused(message(lone("adaptive_avg_pool2d", {1, 3, 3}, {{"output_size", Ints{0, 1}}})), "'output_size' with 0");
  refused(message(lone("adaptive_max_pool2d", {1, 3}, {{"output_size", Ints{1, 1}}})), "expected [C, H, W]");
  refused(message(lone("flatten", {})), "a sample of one number");
  refused(message(lone("batch_norm", {}, {{"eps", 1e-5}})), "a sample of one number");
  refused(message(small(), [](auto& m) { m.network.add("add", {1, 4}); }), "operation 6 (add)] got samples of shapes");
  refused(message(small(), [](auto& m) { std::get<DenseEncoding>(m.tensors["var"].data).values.pop_back(); }), "[var]");
}

TEST_CASE("runtime: hostile sizes end in errors before memory is taken", "[runtime]") {
  const Index huge = Index{1} << 31, most = std::numeric_limits<Index>::max();
  const std::size_t before = memory_stats().in_use + memory_stats().cached;
  const auto refused = [](const std::string& got) {
    CAPTURE(got);
    CHECK(got != "no error");
  };
  const auto conv = [](const char* attribute, Ints value) {
    return message(small(), [&](io::PackedModel& m) { m.network.ops[0].attributes[attribute] = std::move(value); });
  };
  for (const Index v : {huge, most, -most - 1}) {
    refused(conv("padding", {v, 1}));
    refused(conv("padding", {1, v}));
    refused(conv("dilation", {v, 1}));
    refused(conv("stride", {v, v}));
    refused(message(small(), [&](io::PackedModel& m) { m.network.ops[0].attributes["groups"] = v; }));
    for (const char* op : {"max_pool2d", "avg_pool2d"})
      for (const char* attribute : {"kernel", "stride", "padding", "dilation"}) {
        if (v == huge && std::string(attribute) == "stride") continue;
        if (std::string(op) == "avg_pool2d" && std::string(attribute) == "dilation") continue;
        Attributes attributes{{"kernel", Ints{2, 2}}};
        attributes[attribute] = Ints{v, 1};
        refused(message(lone(op, {1, 4, 4}, attributes)));
      }
    for (const char* op : {"adaptive_avg_pool2d", "adaptive_max_pool2d"})
      refused(message(lone(op, {1, 4, 4}, {{"output_size", Ints{v, v}}})));
  }
  refused(conv("padding", {1 << 20, 1 << 20}));
  refused(
      message(lone("avg_pool2d", {1, 1, 1}, {{"kernel", Ints{huge, huge}}, {"padding", Ints{huge / 2, huge / 2}}})));
  // Each value is small enough, all at a time are not.
  io::PackedModel wide;
  wide.network.input_shape = {1, 1, 1};
  int sum = wide.network.add("adaptive_avg_pool2d", {0}, {{"output_size", Ints{1 << 13, 1 << 13}}});
  std::vector<int> values;
  for (int i = 0; i < 5; ++i) values.push_back(wide.network.add("tanh", {sum}));
  for (const int v : values) sum = wide.network.add("add", {sum, v});
  CHECK_THAT(message(wide), Catch::Contains("elements for one sample at value"));
  CHECK(memory_stats().in_use + memory_stats().cached < before + (std::size_t{16} << 20));

  // Large strides are fine.
  io::PackedModel far = lone("max_pool2d", {1, 4, 4}, {{"kernel", Ints{2, 2}}, {"stride", Ints{huge, huge}}});
  CHECK(runtime::Model::from(far).run(Tensor<float>::ones({1, 1, 4, 4})).shape() == Shape{1, 1, 1, 1});
  io::PackedModel stride = small();
  stride.network.ops.resize(1), stride.network.output = 1;
  stride.network.ops[0].attributes["stride"] = Ints{huge, huge};
  CHECK(runtime::Model::from(stride).run(Tensor<float>::ones({1, 2, 6, 6})).shape() == Shape{1, 4, 1, 1});
}
