/// gather, index_select, index_add, embedding.
#pragma once

#include "golden.hpp"
#include "op_case.hpp"
#include "qdistill/ops/embedding.hpp"
#include "qdistill/ops/index.hpp"

namespace qdistill_test {

/// Indices below `size` with repeats, in no order.
inline Tensor<Index> some_indices(const Shape& shape, Index size) {
  Tensor<Index> index = Tensor<Index>::empty(shape);
  for (Index i = 0; i < index.numel(); ++i) index.data()[i] = (i * 7 + i / 3 * 5 + 2) % size;
  return index;
}

/// The index of the gather case: as many rows, one column less, three positions along dim 1.
inline Tensor<Index> gather_index(const Shape& x) { return some_indices({x[0], 3, x[2] - 1}, x[1]); }
inline const bool gather_registered = op_case(
    {.name = "gather",
     .shapes = {{{2, 4, 3}}, {{1, 1, 2}}, {{0, 2, 3}}, {{2, 5, 1}}},
     .wrong = {{[] {
                  gather(Tensor<float>::ones({2, 3}), 1, Tensor<Index>::full({2, 1}, 3));
                },
                "[gather] got index 3 at position 0, expected it in [0, 3)"},
               {[] {
                  gather(Tensor<float>::ones({2, 3}), 1, Tensor<Index>::full({2, 1}, -1));
                },
                "[gather] got index -1 at position 0"},
               {[] {
                  gather(Tensor<float>::ones({2, 3}), 1, Tensor<Index>::full({3, 1}, 0));
                },
                "[gather] got index [3, 1] for [2, 3]"},
               {[] {
                  gather(Tensor<float>::ones({2, 3}), 1, Tensor<Index>::full({2}, 0));
                },
                "[gather] got index [2]"},
               {[] {
                  gather(Tensor<float>::ones({2, 3}), 2, Tensor<Index>::full({2, 1}, 0));
                },
                "[gather] got dim 2"}},
     .bench_shapes = {{61, 50, 2001}},
     .bytes = (4.0 + 8 + 4) * 61 * 3 * 2000},
    [](const auto& a) { return gather(a[0], 1, gather_index(a[0].shape())); },
    [](const Args<double>& a) {
      const Tensor<Index> index = gather_index(a[0].shape());
      std::vector<double> y;
      for (Index i = 0; i < index.shape()[0]; ++i)
        for (Index k = 0; k < 3; ++k)
          for (Index j = 0; j < index.shape()[2]; ++j) y.push_back(a[0].at({i, index.at({i, k, j}), j}));
      return y;
    });

inline const bool gather_rows_registered = op_case(
    {.name = "gather along dim 0", .shapes = {{{4, 3}}, {{1, 5}}}, .bench_shapes = {{50, 3001}}, .bytes = 16.0 * 90000},
    [](const auto& a) {
      return gather(a[0], 0, some_indices({30, a[0].shape()[1]}, a[0].shape()[0]));
    },
    [](const Args<double>& a) {
      const Tensor<Index> index = some_indices({30, a[0].shape()[1]}, a[0].shape()[0]);
      std::vector<double> y;
      for (Index k = 0; k < 30; ++k)
        for (Index j = 0; j < index.shape()[1]; ++j) y.push_back(a[0].at({index.at({k, j}), j}));
      return y;
    });

inline const bool index_select_registered = op_case(
    {.name = "index_select",
     .shapes = {{{2, 4, 3}}, {{1, 1, 2}}, {{0, 2, 3}}, {{2, 5, 0}}},
     .wrong = {{[] {
                  index_select(Tensor<float>::ones({2, 3}), 1, Tensor<Index>::from({0, 1, 3}));
                },
                "[index_select] got index 3 at position 2, expected it in [0, 3)"},
               {[] {
                  index_select(Tensor<float>::ones({2, 0}), 1, Tensor<Index>::from({0}));
                },
                "[index_select] got index 0 at position 0, expected it in [0, 0)"},
               {[] {
                  index_select(Tensor<float>::ones({2, 3}), 1, Tensor<Index>::full({2, 1}, 0));
                },
                "[index_select] got index [2, 1], expected one dim"},
               {[] {
                  index_select(Tensor<float>::ones({}), 0, Tensor<Index>::from({0, 0}));
                },
                "[index_select] got 2 indices for a scalar"}},
     .bench_shapes = {{61, 50, 301}},
     .bytes = 8.0 * 61 * 9 * 301},
    [](const auto& a) { return index_select(a[0], -2, some_indices({9}, a[0].shape()[1])); },
    [](const Args<double>& a) {
      const Tensor<Index> index = some_indices({9}, a[0].shape()[1]);
      std::vector<double> y;
      for (Index i = 0; i < a[0].shape()[0]; ++i)
        for (Index k = 0; k < 9; ++k)
          for (Index j = 0; j < a[0].shape()[2]; ++j) y.push_back(a[0].at({i, index.at({k}), j}));
      return y;
    });

inline const bool index_add_registered = op_case(
    {.name = "index_add",
     .shapes = {{{2, 4, 3}, {2, 6, 3}}, {{1, 1, 2}, {1, 3, 2}}, {{2, 3, 1}, {2, 0, 1}}},
     .wrong = {{[] {
                  index_add(Tensor<float>::ones({2, 3}), 1, Tensor<Index>::from({0, 3}), Tensor<float>::ones({2, 2}));
                },
                "[index_add] got index 3 at position 1, expected it in [0, 3)"},
               {[] {
                  index_add(Tensor<float>::ones({2, 3}), 1, Tensor<Index>::from({0, 1}), Tensor<float>::ones({2, 3}));
                },
                "[index_add] got source [2, 3] for [2, 3] and 2 indices, expected [2, 2]"},
               {[] {
                  index_add(Tensor<float>::ones({}), 0, Tensor<Index>::from({0, 0}), Tensor<float>::ones({}));
                },
                "[index_add] got source [] for [] and 2 indices"}},
     .bench_shapes = {{17, 50, 301}, {17, 90, 301}},
     .bytes = 4.0 * 17 * 301 * (2 * 50 + 3 * 90)},
    [](const auto& a) {
      using T = typename std::decay_t<decltype(a[0])>::value_type;
      return index_add(a[0], 1, some_indices({a[1].shape()[1]}, a[0].shape()[1]), a[1], T(1.5));
    },
    [](const Args<double>& a) {
      Tensor<double> y = a[0].clone();
      const Tensor<Index> index = some_indices({a[1].shape()[1]}, a[0].shape()[1]);
      for (Index i = 0; i < y.shape()[0]; ++i)
        for (Index k = 0; k < index.numel(); ++k)
          for (Index j = 0; j < y.shape()[2]; ++j) y.at({i, index.at({k}), j}) += 1.5 * a[1].at({i, k, j});
      return y.to_vector();
    });

inline const bool embedding_registered = op_case(
    {.name = "embedding",
     .shapes = {{{4, 3}}, {{1, 2}}, {{3, 0}}},
     .wrong = {{[] {
                  embedding(Tensor<float>::ones({2, 3}), Tensor<Index>::from({0, 2}));
                },
                "[embedding] got index 2 at position 1, expected it in [0, 2)"},
               {[] { embedding(Tensor<float>::ones({2}), Tensor<Index>::from({0})); },
                "[embedding] got weight [2], expected (V, D)"},
               {[] {
                  embedding(Tensor<float>::ones({2, 3}), Tensor<Index>::from({0}), 2);
                },
                "[embedding] got padding_idx 2, expected it in [-2, 2)"}},
     .bench_shapes = {{300, 513}},
     .bytes = 8.0 * 70 * 513},
    [](const auto& a) {
      return embedding(a[0], some_indices({7, 10}, a[0].shape()[0]));
    },
    [](const Args<double>& a) {
      std::vector<double> y;
      for (const Index i : some_indices({7, 10}, a[0].shape()[0]).to_vector())
        for (Index j = 0; j < a[0].shape()[1]; ++j) y.push_back(a[0].at({i, j}));
      return y;
    });

inline const bool gather_golden = golden("gather", [](auto g) {
  const auto x = g.leaf("input");
  g.check(gather(x, g->template param<Index>("dim", 0), g.indices("index")), {{"input", x}});
});

inline const bool index_select_golden = golden("index_select", [](auto g) {
  const auto x = g.leaf("input");
  g.check(index_select(x, g->template param<Index>("dim", 0), g.indices("index")), {{"input", x}});
});

inline const bool index_add_golden = golden("index_add", [](auto g) {
  const auto x = g.leaf("input"), source = g.leaf("src");
  g.check(index_add(x, g->template param<Index>("dim", 0), g.indices("index"), source),
          {{"input", x}, {"src", source}});
});

inline const bool embedding_golden = golden("embedding", [](auto g) {
  const auto w = g.leaf("weight");
  std::optional<Index> padding_idx;
  if (!g->params().at("padding_idx").is_null()) padding_idx = g->params().at("padding_idx").template get<Index>();
  g.check(embedding(w, g.indices("indices"), padding_idx), {{"weight", w}});
});

}  // namespace qdistill_test
