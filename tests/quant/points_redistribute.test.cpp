/// Redistribution of points between tensors: goldens of the authors' code, its edges, the paper's proportion.
#include <catch2/catch.hpp>
#include <numeric>

#include "golden.hpp"
#include "qdistill/quant/redistribute.hpp"

namespace qdistill_test {

namespace {

const bool redistribute_golden = golden("redistribute_points", [](auto g) {
  const std::vector<double> norms = g->template tensor<double>("gradient_norms").to_vector();
  const auto what =
      g->params().at("input_is_point").template get<bool>() ? quant::CountOf::points : quant::CountOf::bits;
  g->compare_values("assigned", quant::redistribute(g->list("initial", norms.size(), 0), norms,
                                                    quant::Redistribution::authors, what));
});

using Counts = std::vector<Index>;

Counts redistributed(Counts counts, const std::vector<double>& norms, quant::Redistribution rule,
                     quant::CountOf what = quant::CountOf::points) {
  return quant::redistribute(std::move(counts), norms, rule, what);
}

}  // namespace

TEST_CASE("redistribution keeps the total and leaves each tensor a point", "[quant]") {
  for (const auto rule : {quant::Redistribution::authors, quant::Redistribution::proportional}) {
    for (std::uint64_t seed = 0; seed < 200; ++seed) {
      const auto tensors = static_cast<Index>(1 + seed % 13);
      const auto raw = Tensor<double>::uniform({tensors}, {seed, 1}).to_vector();
      Counts counts;
      std::vector<double> norms;
      for (const double r : raw) {
        counts.push_back(1 + static_cast<Index>(r * static_cast<double>(seed % 20)));
        norms.push_back(seed % 3 ? r * r * r : r < 0.8 ? 0 : r);  // some tensors without a gradient
      }
      const Counts now = redistributed(counts, norms, rule);
      INFO("seed " << seed);
      CHECK(std::accumulate(now.begin(), now.end(), Index{0}) ==
            std::accumulate(counts.begin(), counts.end(), Index{0}));
      CHECK(*std::min_element(now.begin(), now.end()) >= 1);
    }
  }
}

TEST_CASE("surplus and deficit of the authors' rounding", "[quant]") {
  using quant::Redistribution;
  // Base 1 each, rest 3 in shares of 1: nothing left over.
  CHECK(redistributed({2, 2, 2}, {1, 1, 1}, Redistribution::authors) == Counts{2, 2, 2});
  // Rest 4 in shares 1.5, 1.5, 0.5, 0.5: half to even gives 2, 2, 0, 0.
  CHECK(redistributed({2, 2, 2, 2}, {3, 3, 1, 1}, Redistribution::authors) == Counts{3, 3, 1, 1});
  // Rest 4 in shares 0.6, 0.6, 0.6, 2.2 (1, 1, 1, 2): one too many, off the first with the most.
  CHECK(redistributed({2, 2, 2, 2}, {.6, .6, .6, 2.2}, Redistribution::authors) == Counts{2, 2, 2, 2});
  // Rest 4 in shares 0.4, 0.4, 0.4, 2.8 (0, 0, 0, 3): one too few, to the first with the fewest.
  CHECK(redistributed({2, 2, 2, 2}, {.4, .4, .4, 2.8}, Redistribution::authors) == Counts{2, 1, 1, 4});
  // Bits: base n - 1.
  CHECK(redistributed({4, 4}, {0, 1}, Redistribution::authors, quant::CountOf::bits) == Counts{3, 5});
  // A count of 1 has base 0; it keeps 1.
  CHECK(redistributed({1, 9}, {0, 1}, Redistribution::authors) == Counts{1, 9});
}

TEST_CASE("the paper's proportion, and nothing to go by", "[quant]") {
  using quant::Redistribution;
  CHECK(redistributed({4, 4, 4}, {1, 2, 3}, Redistribution::proportional) == Counts{2, 4, 6});
  CHECK(redistributed({2, 2, 3}, {1, 1, 1}, Redistribution::proportional) ==
        Counts{3, 2, 2});  // 7/3: first of equal ones
  CHECK(redistributed({4, 4, 4}, {0, 0, 1}, Redistribution::proportional) == Counts{1, 1, 10});
  for (const auto rule : {Redistribution::authors, Redistribution::proportional, Redistribution::none})
    CHECK(redistributed({3, 7}, {0, 0}, rule) == Counts{3, 7});
  CHECK(redistributed({3, 7}, {1, 0}, Redistribution::none) == Counts{3, 7});
  CHECK(redistributed({}, {}, Redistribution::authors).empty());
}

TEST_CASE("redistribution refuses what makes no sense", "[quant]") {
  using quant::Redistribution;
  CHECK_THROWS_AS(redistributed({4, 4}, {1}, Redistribution::authors), ShapeError);
  CHECK_THROWS_AS(redistributed({0, 4}, {1, 1}, Redistribution::authors), ValueError);
  CHECK_THROWS_AS(redistributed({4, 4}, {1, -1}, Redistribution::authors), ValueError);
  CHECK_THROWS_AS(redistributed({4, 4}, {1, std::nan("")}, Redistribution::proportional), ValueError);
}

TEST_CASE("gradient norms are those of the mean over the batches", "[quant]") {
  const auto parameter = [](std::initializer_list<double> v) {
    return nn::NamedParameter<double>{
        "w", std::make_shared<nn::Parameter<double>>(Tensor<double>::from(v), nn::Kind::weight)};
  };
  const std::vector<nn::NamedParameter<double>> parameters{parameter({1, 2}), parameter({5})};
  parameters[0].parameter->data().grad() = Tensor<double>::from({6, 8});
  CHECK(quant::gradient_norms(parameters, 2) == std::vector<double>{5, 0});
}

}  // namespace qdistill_test
