/// Views and layouts.
#pragma once

#include "op_case.hpp"
#include "qdistill/ops/view.hpp"

namespace qdistill_test {

/// The elements of x at `index(out index)`, for all indices of `shape` in order; both are lists with one entry per dim.
template <class F>
std::vector<double> picked_reference(const Tensor<double>& x, const Shape& shape, F index) {
  const std::vector<double> v = x.to_vector();
  const Strides dense = row_major(x.shape());
  std::vector<double> y;
  Index at[max_rank] = {};
  for (Index n = 0, total = shape.numel(); n < total; ++n) {
    Index rest = n;
    for (int d = shape.rank() - 1; d >= 0; --d) at[d] = rest % shape[d], rest /= shape[d];
    const Shape from = index(Shape(std::span<const Index>(at, static_cast<std::size_t>(shape.rank()))));
    Index offset = 0;
    for (int d = 0; d < x.rank(); ++d) offset += from[d] * dense[d];
    y.push_back(v[static_cast<std::size_t>(offset)]);
  }
  return y;
}

inline std::vector<double> same_elements_reference(const Args<double>& a) { return a[0].to_vector(); }

inline const bool reshape_registered = op_case(
    {.name = "reshape",
     .shapes = {{{2, 6}}, {{3, 4}}, {{0, 4}}, {{4}}},
     .wrong = {{[] {
                  reshape(Tensor<float>::ones({2, 3}), {4, -1});
                },
                "[reshape] got [2, 3] to [4, -1]"},
               {[] {
                  reshape(Tensor<float>::ones({2, 3}), {4, 2});
                },
                "[reshape] got [2, 3] to [4, 2]"},
               {[] {
                  reshape(Tensor<float>::ones({2, 3}), {-1, -1});
                },
                "expected at most one dim of -1"},
               {[] {
                  reshape(Tensor<float>::ones({2, 3}), {-2, -3});
                },
                "[reshape] got shape [-2, -3]"},
               {[] {
                  reshape(Tensor<float>::ones({0, 3}), {0, -1});
                },
                "[reshape] got [0, 3] to [0, -1]"},
               {[] { reshape(Tensor<float>{}, {0}); }, "[reshape] got an undefined tensor"}},
     .bench_shapes = {{60, 2002}}},
    [](const auto& a) {
      return reshape(a[0], {2, -1, 2});
    },
    same_elements_reference);

inline const bool flatten_registered = op_case(
    {.name = "flatten",
     .shapes = {{{2, 3, 2, 2}}, {{2, 1, 0, 4}}, {{2, 2, 5}}},
     .wrong = {{[] {
                  flatten(Tensor<float>::ones({2, 3}), 1, 0);
                },
                "[flatten] got dims 1 to 0 of shape [2, 3]"},
               {[] {
                  flatten(Tensor<float>::ones({2, 3}), 2);
                },
                "[flatten] got dim 2"}}},
    [](const auto& a) { return flatten(a[0], 1, -2); }, same_elements_reference);

inline const bool flatten_scalar_registered = op_case(
    {.name = "flatten to a vector", .shapes = edge_shapes()}, [](const auto& a) { return flatten(a[0]); },
    same_elements_reference);

inline const bool transpose_registered = op_case(
    {.name = "transpose",
     .shapes = {{{2, 3, 4}}, {{1, 3, 1}}, {{0, 2, 3}}},
     .wrong = {{[] {
                  transpose(Tensor<float>::ones({2, 3}), 0, 2);
                },
                "[transpose] got dim 2"}},
     .bench_shapes = {{67, 129, 31}},
     .bytes = 8.0 * 67 * 129 * 31,
     .more_shapes = {{{17, 5, 33}}}},
    [](const auto& a) { return contiguous(transpose(a[0], 0, -1)); },
    [](const Args<double>& a) {
      const Shape s = a[0].shape();
      return picked_reference(a[0], {s[2], s[1], s[0]}, [](Shape i) { return Shape{i[2], i[1], i[0]}; });
    });

inline const bool permute_registered = op_case(
    {.name = "permute",
     .shapes = {{{2, 3, 2, 2}}, {{1, 3, 2, 1}}},
     .wrong = {{[] {
                  permute(Tensor<float>::ones({2, 3}), {0, 0});
                },
                "[permute] got order [0, 0]"},
               {[] {
                  permute(Tensor<float>::ones({2, 3}), {0});
                },
                "[permute] got 1 dims for shape [2, 3]"},
               {[] {
                  permute(Tensor<float>::ones({2, 3}), {0, 2});
                },
                "[permute] got dim 2"}},
     .bench_shapes = {{7, 33, 40, 9}},
     .bytes = 8.0 * 7 * 33 * 40 * 9,
     .more_shapes = {{{3, 17, 18, 5}}}},
    [](const auto& a) {
      return contiguous(permute(a[0], {2, 0, -1, 1}));
    },
    [](const Args<double>& a) {
      const Shape s = a[0].shape();
      return picked_reference(a[0], {s[2], s[0], s[3], s[1]}, [](Shape i) { return Shape{i[1], i[3], i[0], i[2]}; });
    });

inline const bool slice_registered = op_case(
    {.name = "slice",
     .shapes = {{{2, 5, 3}}, {{1, 3, 2}}, {{2, 0, 3}}, {{2, 1, 3}}},
     .wrong = {{[] {
                  slice(Tensor<float>::ones({2, 3}), 2, 0, 1);
                },
                "[slice] got dim 2"},
               {[] {
                  slice(Tensor<float>::ones({2, 3}), 0, 0, 1, 0);
                },
                "[slice] got step 0, expected at least 1"},
               {[] {
                  slice(Tensor<float>::ones({2, 3}), 0, 0, 1, -1);
                },
                "[slice] got step -1"}},
     .bench_shapes = {{67, 131, 33}},
     .bytes = 8.0 * 67 * 65 * 33},
    [](const auto& a) { return contiguous(slice(a[0], 1, 1, -1, 2)); },
    [](const Args<double>& a) {
      Shape s = a[0].shape();
      s[1] = s[1] > 2 ? (s[1] - 1) / 2 : 0;
      return picked_reference(a[0], s, [](Shape i) { return Shape{i[0], 1 + 2 * i[1], i[2]}; });
    });

inline const bool narrow_registered = op_case(
    {.name = "narrow",
     .shapes = {{{2, 5, 3}}, {{1, 3, 2}}},
     .wrong = {{[] {
                  narrow(Tensor<float>::ones({2, 3}), 1, 2, 2);
                },
                "[narrow] got start 2 and length 2 for dim 1 of shape [2, 3]"},
               {[] {
                  narrow(Tensor<float>::ones({2, 3}), 1, -4, 1);
                },
                "[narrow] got start -4"},
               {[] {
                  narrow(Tensor<float>::ones({2, 3}), 1, 0, -1);
                },
                "[narrow] got start 0 and length -1"}}},
    [](const auto& a) { return narrow(a[0], 1, -2, 2); },
    [](const Args<double>& a) {
      const Shape s = a[0].shape();
      return picked_reference(a[0], {s[0], 2, s[2]}, [n = s[1]](Shape i) { return Shape{i[0], n - 2 + i[1], i[2]}; });
    });

inline const bool select_registered = op_case(
    {.name = "select",
     .shapes = {{{2, 5, 3}}, {{1, 1, 2}}},
     .wrong = {{[] {
                  select(Tensor<float>::ones({2, 3}), 1, 3);
                },
                "[select] got index 3 for dim 1 of shape [2, 3]"},
               {[] {
                  select(Tensor<float>::ones({2, 0}), 1, 0);
                },
                "[select] got index 0 for dim 1 of shape [2, 0]"},
               {[] { select(Tensor<float>::ones({}), 0, 0); }, "[select] got dim 0"}}},
    [](const auto& a) { return select(a[0], 1, -1); },
    [](const Args<double>& a) {
      const Shape s = a[0].shape();
      return picked_reference(a[0], {s[0], s[2]}, [n = s[1]](Shape i) { return Shape{i[0], n - 1, i[1]}; });
    });

/// Many views of one tensor share its gradient.
inline const bool rows_registered = op_case(
    {.name = "select, all rows", .shapes = {{{3, 2}}, {{1, 4}}, {{4}}}},
    [](const auto& a) {
      auto y = select(a[0], 0, 0);
      for (Index i = 1; i < a[0].shape()[0]; ++i) {
        const auto row = select(a[0], 0, i);
        auto sum = y.clone();
        const auto dense = row.clone();
        add_elements(dense.data(), sum.data(), sum.numel());
        using T = typename decltype(sum)::value_type;
        y = record("sum", sum, inputs(y, row),
                   [](const Tensor<T>& dy, Gradients<T>& dx) { dx[0].accumulate(dy), dx[1].accumulate(dy); });
      }
      return y;
    },
    [](const Args<double>& a) {
      const Index rows = a[0].shape()[0], n = a[0].numel() / rows;
      const std::vector<double> v = a[0].to_vector();
      std::vector<double> y(static_cast<std::size_t>(n));
      for (std::size_t i = 0; i < v.size(); ++i) y[i % y.size()] += v[i];
      return y;
    });

inline const bool squeeze_registered = op_case(
    {.name = "squeeze",
     .shapes = {{{1, 3, 1, 2}}, {{1, 2, 1, 1}}},
     .wrong = {{[] {
                  squeeze(Tensor<float>::ones({1, 3}), 2);
                },
                "[squeeze] got dim 2"}}},
    [](const auto& a) { return squeeze(squeeze(squeeze(a[0], 0), 0)); }, same_elements_reference);

inline const bool unsqueeze_registered = op_case(
    {.name = "unsqueeze",
     .shapes = edge_shapes(),
     .wrong = {{[] {
                  unsqueeze(Tensor<float>::ones({1, 3}), 3);
                },
                "[unsqueeze] got dim 3"}}},
    [](const auto& a) { return unsqueeze(unsqueeze(a[0], -1), 0); }, same_elements_reference);

inline const bool expand_registered = op_case(
    {.name = "expand",
     .shapes = {{{3, 1}}, {{1, 4}}, {{1}}, {{3, 4}}, {{}}},
     .wrong = {{[] {
                  expand(Tensor<float>::ones({2, 3}), {2, 4});
                },
                "[expand] got [2, 3] to [2, 4]"},
               {[] {
                  expand(Tensor<float>::ones({2, 3}), {3});
                },
                "[expand] got [2, 3] to [3]"},
               {[] {
                  expand(Tensor<float>::ones({3}), {-1, 3});
                },
                "[expand] got [3] to [-1, 3]"}},
     .bench_shapes = {{301, 1}},
     .bytes = 4.0 * 301 * (1 + 6 * 4)},
    [](const auto& a) {
      const Index rows = a[0].rank() == 2 && a[0].shape()[0] > 1 ? -1 : 3;
      const Index cols = a[0].rank() >= 1 && a[0].shape()[a[0].rank() - 1] > 1 ? -1 : 4;
      return contiguous(expand(a[0], {2, 3, rows, cols}));
    },
    [](const Args<double>& a) {
      const Tensor<double>& x = a[0];
      const Index rows = x.rank() == 2 && x.shape()[0] > 1 ? x.shape()[0] : 3;
      return picked_reference(x, {2, 3, rows, 4}, [&](Shape i) {
        Shape from = x.shape();
        for (int d = 0; d < from.rank(); ++d) from[d] = from[d] == 1 ? 0 : i[4 - from.rank() + d];
        return from;
      });
    });

inline const bool expand_rows_registered = op_case(
    {.name = "expand, rows repeated", .shapes = {{{5}}}, .bench_shapes = {{7001}}, .bytes = 4.0 * 7001 * 38},
    [](const auto& a) {
      return contiguous(expand(a[0], {37, -1}));
    },
    [](const Args<double>& a) {
      return picked_reference(a[0], {37, a[0].numel()}, [](Shape i) { return Shape{i[1]}; });
    });

}  // namespace qdistill_test
