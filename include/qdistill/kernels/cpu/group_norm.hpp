/// Group normalisation, and layer normalisation as its special case: a row of n = channels x inner contiguous elements
/// is normalised as one, then each of its channels is scaled and shifted.
///
/// Layer norm has one group, and every element of the row is a channel (inner == 1).
#pragma once

#include "qdistill/kernels/cpu/batch_norm.hpp"

namespace qdistill::inline QDISTILL_ABI::kernels {

/// x: batch x groups x channels x inner; `channels` counts those of one group.
struct GroupNormShape {
  Index batch = 0, groups = 1, channels = 0, inner = 1;
  Index row() const noexcept { return channels * inner; }
};

/// Sum of f(i) over [0, n), in double beyond blocks of 2048.
template <class T, class F>
QDISTILL_INLINE double block_sum(Index n, F f) {
  constexpr Index block = 2048;
  double sum = 0;
  for (Index b = 0; b < n; b += block)
    sum += static_cast<double>(
        lane_sum<T>(n - b < block ? n - b : block, [=](Index i) QDISTILL_ISA_BODY { return f(b + i); }));
  return sum;
}

/// y = (x - mean) inverse_std weight_c + bias_c; mean and inverse_std: batch x groups, written. weight, bias: groups x
/// channels, or null.
template <class T>
void group_norm(Cpu, const T* x, T* y, GroupNormShape s, const T* weight, const T* bias, T* mean, T* inverse_std,
                double eps) {
  const Index n = s.row();
  if (n == 0) return;
  for_each_row(s.batch * s.groups, n, [=](Index row) QDISTILL_ISA_BODY {
    const T* const xr = x + row * n;
    T* const yr = y + row * n;
    const double count = static_cast<double>(n);
    const T x0 = xr[0];  // summing differences keeps a mean far from zero exact
    const double m =
        static_cast<double>(x0) + block_sum<T>(n, [=](Index i) QDISTILL_ISA_BODY { return xr[i] - x0; }) / count;
    const T k = static_cast<T>(m);
    const double sum_sq = block_sum<T>(n, [=](Index i) QDISTILL_ISA_BODY { return (xr[i] - k) * (xr[i] - k); });
    const double off = m - static_cast<double>(k), var = sum_sq / count - off * off;
    const T scale = static_cast<T>(1 / std::sqrt((var > 0 ? var : 0) + eps));
    mean[row] = k, inverse_std[row] = scale;
    const Index first = row % s.groups * s.channels;
    if (s.inner == 1) {
      const T *const w = weight ? weight + first : nullptr, *const b = bias ? bias + first : nullptr;
      if (w && b) {
        QDISTILL_SIMD
        for (Index i = 0; i < n; ++i) yr[i] = (xr[i] - k) * scale * w[i] + b[i];
      } else {
        for (Index i = 0; i < n; ++i) yr[i] = (xr[i] - k) * scale * (w ? w[i] : T(1)) + (b ? b[i] : T(0));
      }
      return;
    }
    for (Index c = 0; c < s.channels; ++c) {
      const T a = scale * (weight ? weight[first + c] : T(1)), b = bias ? bias[first + c] : T(0);
      const T* const from = xr + c * s.inner;
      T* const to = yr + c * s.inner;
      QDISTILL_SIMD
      for (Index i = 0; i < s.inner; ++i) to[i] = (from[i] - k) * a + b;
    }
  });
}

/// dx = inverse_std (d - mean(d) - xh mean(d xh)) with d = dy weight_c, xh = (x - mean) inverse_std; means over the
/// row.
template <class T>
void group_norm_backward(Cpu, const T* x, const T* dy, GroupNormShape s, const T* weight, const T* mean,
                         const T* inverse_std, T* dx, Write write) {
  const Index n = s.row();
  if (n == 0) return;
  with_write(write, [=](auto add) {
    constexpr bool Add = decltype(add)::value;
    for_each_row(s.batch * s.groups, n, [=](Index row) QDISTILL_ISA_BODY {
      const T *const xr = x + row * n, *const dyr = dy + row * n;
      T* const dxr = dx + row * n;
      const T k = mean[row], scale = inverse_std[row];
      const Index first = row % s.groups * s.channels;
      const T* const w = weight ? weight + first : nullptr;
      double sum = 0, dot = 0;
      const Index parts = s.inner == 1 ? 1 : s.channels, length = s.inner == 1 ? n : s.inner;
      for (Index c = 0; c < parts; ++c) {
        const T *const xp = xr + c * length, *const dp = dyr + c * length;
        if (s.inner == 1 && w) {
          sum += block_sum<T>(length, [=](Index i) QDISTILL_ISA_BODY { return dp[i] * w[i]; });
          dot += block_sum<T>(length, [=](Index i) QDISTILL_ISA_BODY { return dp[i] * w[i] * (xp[i] - k); });
        } else {
          const double wc = w ? static_cast<double>(w[c]) : 1;
          sum += wc * block_sum<T>(length, [=](Index i) QDISTILL_ISA_BODY { return dp[i]; });
          dot += wc * block_sum<T>(length, [=](Index i) QDISTILL_ISA_BODY { return dp[i] * (xp[i] - k); });
        }
      }
      const double count = static_cast<double>(n), s2 = static_cast<double>(scale) * static_cast<double>(scale);
      const T a = static_cast<T>(sum / count), b = static_cast<T>(dot * s2 / count);
      for (Index c = 0; c < parts; ++c) {
        const T *const xp = xr + c * length, *const dp = dyr + c * length;
        T* const to = dxr + c * length;
        if (s.inner == 1 && w) {
          QDISTILL_SIMD
          for (Index i = 0; i < length; ++i) put<Add>(to[i], scale * (dp[i] * w[i] - a - (xp[i] - k) * b));
        } else {
          const T wc = w ? w[c] : T(1);
          QDISTILL_SIMD
          for (Index i = 0; i < length; ++i) put<Add>(to[i], scale * (dp[i] * wc - a - (xp[i] - k) * b));
        }
      }
    });
  });
}

/// dweight_c = sum dy xh, dbias_c = sum dy over batch and inner, in parallel over channels; null: not wanted.
template <class T>
void group_norm_backward_affine(Cpu, const T* x, const T* dy, GroupNormShape s, const T* mean, const T* inverse_std,
                                T* dweight, Write write_dweight, T* dbias, Write write_dbias) {
  const Index all = s.groups * s.channels;
  const BatchNormShape columns{s.batch, all, s.inner};
  const auto leave = [=](Index c, double dot, double sum) QDISTILL_ISA_BODY {
    if (dweight) dweight[c] = (write_dweight == Write::add ? dweight[c] : T(0)) + static_cast<T>(dot);
    if (dbias) dbias[c] = (write_dbias == Write::add ? dbias[c] : T(0)) + static_cast<T>(sum);
  };
  for_each_channel(columns, [=](Index begin, Index end) QDISTILL_ISA_BODY {
    if (s.inner == 1) {
      double dot[batch_norm_columns], sum[batch_norm_columns];
      const Index groups = s.groups, per_group = s.channels;
      if (groups == 1) {
        column_sums<T>(s.batch, end - begin, dot, sum, [=](Index n, Index c, T& a, T& b) QDISTILL_ISA_BODY {
          const T d = dy[n * all + begin + c];
          a += d * (x[n * all + begin + c] - mean[n]) * inverse_std[n], b += d;
        });
      } else {
        column_sums<T>(s.batch, end - begin, dot, sum, [=](Index n, Index c, T& a, T& b) QDISTILL_ISA_BODY {
          const T d = dy[n * all + begin + c];
          const Index row = n * groups + (begin + c) / per_group;
          a += d * (x[n * all + begin + c] - mean[row]) * inverse_std[row], b += d;
        });
      }
      for (Index c = begin; c < end; ++c) leave(c, dot[c - begin], sum[c - begin]);
      return;
    }
    for (Index c = begin; c < end; ++c) {
      double dot = 0, sum = 0;
      for (Index n = 0; n < s.batch; ++n) {
        const Index row = n * s.groups + c / s.channels;
        const T *const xr = x + (n * all + c) * s.inner, *const dyr = dy + (n * all + c) * s.inner;
        const T k = mean[row];
        dot += static_cast<double>(inverse_std[row]) *
               block_sum<T>(s.inner, [=](Index i) QDISTILL_ISA_BODY { return dyr[i] * (xr[i] - k); });
        sum += block_sum<T>(s.inner, [=](Index i) QDISTILL_ISA_BODY { return dyr[i]; });
      }
      leave(c, dot, sum);
    }
  });
}

}  // namespace qdistill::inline QDISTILL_ABI::kernels
