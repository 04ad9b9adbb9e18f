/// Batch normalisation over N x C x inner, per channel C.
///
/// Statistics read the data once, as sums of (x - k) and (x - k)^2 about a shift k near the mean: in T over at most
/// 2048 elements, in double beyond, so that a large mean costs no precision. One channel (or 64 of them, when inner ==
/// 1) is worked on from the statistics to the output while it is in cache; its second pass runs backwards for that
/// reason.
#pragma once

#include "qdistill/kernels/cpu/elementwise_functions.hpp"
#include "qdistill/kernels/cpu/losses_reduce.hpp"

namespace qdistill::inline QDISTILL_ABI::kernels {

/// Sizes of x: batch x channels x inner.
struct BatchNormShape {
  Index batch = 0, channels = 0, inner = 1;
};

/// Channels worked on together when inner == 1.
inline constexpr Index batch_norm_columns = 64;

/// Sums of f(i) and g(i) over rows of one channel: f and g take (row offset + i).
struct TwoSums {
  double a = 0, b = 0;
};
template <class T, class F>
QDISTILL_INLINE TwoSums channel_sums(BatchNormShape s, Index channel, F f) {
  constexpr int lanes = 16;
  constexpr Index block = 2048;
  TwoSums total;
  T a[lanes] = {}, b[lanes] = {};
  Index held = 0;
  const auto flush = [&]() QDISTILL_ISA_BODY {
    for (int width = lanes / 2; width > 0; width /= 2)
      for (int l = 0; l < width; ++l) a[l] += a[l + width], b[l] += b[l + width];
    total.a += static_cast<double>(a[0]), total.b += static_cast<double>(b[0]);
    for (int l = 0; l < lanes; ++l) a[l] = b[l] = 0;
    held = 0;
  };
  for (Index n = 0; n < s.batch; ++n) {
    const Index row = (n * s.channels + channel) * s.inner;
    for (Index first = 0; first < s.inner; first += block) {
      const Index count = s.inner - first < block ? s.inner - first : block;
      if (held + count > block) flush();
      held += count;
      Index i = row + first;
      const Index end = i + count;
      T c[lanes], d[lanes];
      for (int l = 0; l < lanes; ++l) c[l] = a[l], d[l] = b[l];
      for (; i + lanes <= end; i += lanes) {
        QDISTILL_SIMD
        for (int l = 0; l < lanes; ++l) f(i + l, c[l], d[l]);
      }
      for (int l = 0; i < end; ++i, ++l) f(i, c[l], d[l]);
      for (int l = 0; l < lanes; ++l) a[l] = c[l], b[l] = d[l];
    }
  }
  flush();
  return total;
}

/// The same for up to 64 columns (inner == 1), at most 64 rows in T.
template <class T, class F>
QDISTILL_INLINE void column_sums(Index batch, Index columns, double* sum_a, double* sum_b, F f) {
  T a[batch_norm_columns], b[batch_norm_columns];
  for (Index c = 0; c < columns; ++c) sum_a[c] = sum_b[c] = 0;
  for (Index first = 0; first < batch; first += 64) {
    const Index end = first + 64 < batch ? first + 64 : batch;
    for (Index c = 0; c < batch_norm_columns; ++c) a[c] = b[c] = 0;
    for (Index n = first; n < end; ++n) {
      QDISTILL_SIMD
      for (Index c = 0; c < columns; ++c) f(n, c, a[c], b[c]);
    }
    for (Index c = 0; c < columns; ++c) sum_a[c] += static_cast<double>(a[c]), sum_b[c] += static_cast<double>(b[c]);
  }
}

/// Calls f(first channel, end) for the channels of chunks of about memory_grain / 2 elements.
template <class F>
void for_each_channel(BatchNormShape s, F f) {
  const Index unit = s.inner == 1 ? batch_norm_columns : 1, work = s.batch * s.inner * unit;
  const Index grain = work >= memory_grain / 2 ? unit : memory_grain / 2 / (work > 0 ? work : 1) * unit;
  parallel_for(s.channels, grain, [=](Index begin, Index end) {
    with_isa([=]() QDISTILL_ISA_BODY {
      for (Index c = begin; c < end; c += unit) f(c, c + unit < end ? c + unit : end);
    });
  });
}

/// Arrays of one value per channel; weight, bias and the running ones may be null.
template <class T>
struct BatchNormChannels {
  const T *weight = nullptr, *bias = nullptr;
  T *mean = nullptr, *inverse_std = nullptr;
  T *running_mean = nullptr, *running_var = nullptr;
};

/// Stores mean and 1 / sqrt(var + eps) from the sums about `shift`, and moves the running statistics (unbiased
/// variance).
template <class T>
QDISTILL_INLINE void finish_statistics(const BatchNormChannels<T>& p, Index c, double shift, double sum, double sum_sq,
                                       double count, double momentum, double eps) {
  const double off = sum / count;
  double var = (sum_sq - sum * off) / count;
  if (var < 0) var = 0;
  p.mean[c] = static_cast<T>(shift + off);
  p.inverse_std[c] = static_cast<T>(1 / std::sqrt(var + eps));
  if (p.running_mean)
    p.running_mean[c] =
        static_cast<T>((1 - momentum) * static_cast<double>(p.running_mean[c]) + momentum * (shift + off));
  if (p.running_var)
    p.running_var[c] =
        static_cast<T>((1 - momentum) * static_cast<double>(p.running_var[c]) + momentum * var * count / (count - 1));
}

/// y = f((x - mean) scale + bias) with scale = inverse_std weight, for channels [begin, end).
template <class T, class F>
QDISTILL_INLINE void normalise(const T* x, T* y, BatchNormShape s, const BatchNormChannels<T>& p, Index begin,
                               Index end, F f) {
  if (s.inner == 1) {
    T scale[batch_norm_columns], shift[batch_norm_columns];
    const Index columns = end - begin;
    const T* const mean = p.mean + begin;
    for (Index c = 0; c < columns; ++c) {
      scale[c] = p.inverse_std[begin + c] * (p.weight ? p.weight[begin + c] : T(1));
      shift[c] = p.bias ? p.bias[begin + c] : T(0);
    }
    for (Index n = s.batch - 1; n >= 0; --n) {
      const T* const from = x + n * s.channels + begin;
      T* const to = y + n * s.channels + begin;
      QDISTILL_SIMD
      for (Index c = 0; c < columns; ++c) to[c] = f((from[c] - mean[c]) * scale[c] + shift[c]);
    }
    return;
  }
  for (Index c = begin; c < end; ++c) {
    const T scale = p.inverse_std[c] * (p.weight ? p.weight[c] : T(1)), shift = p.bias ? p.bias[c] : T(0);
    const T mean = p.mean[c];
    for (Index n = s.batch - 1; n >= 0; --n) {
      const T* const from = x + (n * s.channels + c) * s.inner;
      T* const to = y + (n * s.channels + c) * s.inner;
      QDISTILL_SIMD
      for (Index i = 0; i < s.inner; ++i) to[i] = f((from[i] - mean) * scale + shift);
    }
  }
}

/// The same, then max(y, 0) where `relu`.
template <class T>
QDISTILL_INLINE void normalise(const T* x, T* y, BatchNormShape s, const BatchNormChannels<T>& p, Index begin,
                               Index end, bool relu) {
  if (relu) normalise(x, y, s, p, begin, end, Relu{});
  else normalise(x, y, s, p, begin, end, [](T v) QDISTILL_ISA_BODY { return v; });
}

/// Training: batch statistics into p.mean and p.inverse_std, running statistics moved, y written, its negative elements
/// as 0 where `relu`. batch * inner >= 2.
template <class T>
void batch_norm_train(Cpu, const T* x, T* y, BatchNormShape s, BatchNormChannels<T> p, double momentum, double eps,
                      bool relu = false) {
  const double count = static_cast<double>(s.batch * s.inner);
  for_each_channel(s, [=](Index begin, Index end) QDISTILL_ISA_BODY {
    if (s.inner == 1) {
      const Index columns = end - begin;
      const T* const from = x + begin;
      double sum[batch_norm_columns], sum_sq[batch_norm_columns];
      T shift[batch_norm_columns];
      column_sums<T>(s.batch, columns, sum, sum_sq,
                     [=](Index n, Index c, T& a, T&) QDISTILL_ISA_BODY { a += from[n * s.channels + c]; });
      for (Index c = 0; c < columns; ++c) shift[c] = static_cast<T>(sum[c] / count);
      const T* const k = shift;
      column_sums<T>(s.batch, columns, sum, sum_sq, [=](Index n, Index c, T& a, T& b) QDISTILL_ISA_BODY {
        const T d = from[n * s.channels + c] - k[c];
        a += d, b += d * d;
      });
      for (Index c = 0; c < columns; ++c)
        finish_statistics(p, begin + c, static_cast<double>(shift[c]), sum[c], sum_sq[c], count, momentum, eps);
    } else {
      for (Index c = begin; c < end; ++c) {
        const Index first = s.inner < 1024 ? s.inner : 1024;
        const T* const row = x + c * s.inner;
        const T k = lane_sum<T>(first, [=](Index i) QDISTILL_ISA_BODY { return row[i]; }) / static_cast<T>(first);
        const TwoSums sums = channel_sums<T>(s, c, [=](Index i, T& a, T& b) QDISTILL_ISA_BODY {
          const T d = x[i] - k;
          a += d, b += d * d;
        });
        finish_statistics(p, c, static_cast<double>(k), sums.a, sums.b, count, momentum, eps);
      }
    }
    normalise(x, y, s, p, begin, end, relu);
  });
}

/// Evaluation: y from p.mean and p.inverse_std as given. x and y may be the same array.
template <class T>
void batch_norm_eval(Cpu, const T* x, T* y, BatchNormShape s, BatchNormChannels<T> p, bool relu = false) {
  for_each_channel(s, [=](Index begin, Index end) QDISTILL_ISA_BODY { normalise(x, y, s, p, begin, end, relu); });
}

/// Where batch_norm_backward leaves its gradients; null: not wanted.
template <class T>
struct BatchNormGradients {
  T *dx = nullptr, *dweight = nullptr, *dbias = nullptr;
  Write write_dx = Write::set, write_dweight = Write::set, write_dbias = Write::set;
};

/// With xh = (x - mean) inverse_std, M = batch * inner, and dz = dy, or with the ReLU behind it 0 where the output is 0
/// (which is computed again):
///   dbias = sum dz,  dweight = sum dz xh,
///   dx = weight inverse_std (dz - dbias / M - xh dweight / M)   (training)
///   dx = weight inverse_std dz                                  (evaluation: the statistics are constants)
/// dx may be the array dy.
template <bool Relu, class T>
void batch_norm_backward(Cpu, const T* x, const T* dy, BatchNormShape s, BatchNormChannels<T> p, bool training,
                         BatchNormGradients<T> g) {
  const double count = static_cast<double>(s.batch * s.inner);
  const auto leave = [](T* to, Write write, T value)
                         QDISTILL_ISA_BODY { *to = write == Write::add ? *to + value : value; };
  for_each_channel(s, [=](Index begin, Index end) QDISTILL_ISA_BODY {
    const Index columns = end - begin;
    T k0[batch_norm_columns] = {}, k1[batch_norm_columns] = {}, scale[batch_norm_columns], mean[batch_norm_columns];
    T shift[batch_norm_columns];
    double sum[batch_norm_columns] = {}, dot[batch_norm_columns] = {};
    for (Index c = 0; c < columns; ++c) {
      mean[c] = p.mean[begin + c];
      scale[c] = p.inverse_std[begin + c] * (p.weight ? p.weight[begin + c] : T(1));
      shift[c] = p.bias ? p.bias[begin + c] : T(0);
    }
    // dz from dy and x - mean.
    const auto through = [](T d, T centred, T a, T b)
                             QDISTILL_ISA_BODY { return !Relu || centred * a + b > T(0) ? d : T(0); };
    if (training || g.dweight || g.dbias) {
      if (s.inner == 1) {
        const T *const from = x + begin, *const dfrom = dy + begin, *const m = mean, *const u = scale, *const v = shift;
        column_sums<T>(s.batch, columns, sum, dot, [=](Index n, Index c, T& a, T& b) QDISTILL_ISA_BODY {
          const T centred = from[n * s.channels + c] - m[c];
          const T d = through(dfrom[n * s.channels + c], centred, u[c], v[c]);
          a += d, b += d * centred;
        });
      } else {
        const T m = mean[0], u = scale[0], v = shift[0];  // one channel at a time
        const TwoSums sums = channel_sums<T>(s, begin, [=](Index i, T& a, T& b) QDISTILL_ISA_BODY {
          const T centred = x[i] - m, d = through(dy[i], centred, u, v);
          a += d, b += d * centred;
        });
        sum[0] = sums.a, dot[0] = sums.b;
      }
      for (Index c = 0; c < columns; ++c) {
        const double inverse_std = static_cast<double>(p.inverse_std[begin + c]);
        if (g.dbias) leave(g.dbias + begin + c, g.write_dbias, static_cast<T>(sum[c]));
        if (g.dweight) leave(g.dweight + begin + c, g.write_dweight, static_cast<T>(dot[c] * inverse_std));
        if (!training) continue;
        k0[c] = static_cast<T>(sum[c] / count);
        k1[c] = static_cast<T>(dot[c] * inverse_std * inverse_std / count);
      }
    }
    if (!g.dx) return;
    const auto write_rows = [=](auto add) QDISTILL_ISA_BODY {
      constexpr bool Add = decltype(add)::value;
      for (Index n = s.batch - 1; n >= 0; --n) {
        const Index row = (n * s.channels + begin) * s.inner;
        const T *const xr = x + row, *const dyr = dy + row;
        T* const dxr = g.dx + row;
        if (s.inner == 1) {
          QDISTILL_SIMD
          for (Index c = 0; c < columns; ++c) {
            const T centred = xr[c] - mean[c], d = through(dyr[c], centred, scale[c], shift[c]);
            put<Add>(dxr[c], scale[c] * (d - k0[c] - centred * k1[c]));
          }
        } else {
          const T a = scale[0], b = k0[0], k = k1[0], m = mean[0], v = shift[0];
          QDISTILL_SIMD
          for (Index i = 0; i < s.inner; ++i) {
            const T centred = xr[i] - m, d = through(dyr[i], centred, a, v);
            put<Add>(dxr[i], a * (d - b - centred * k));
          }
        }
      }
    };
    if (g.write_dx == Write::add) write_rows(std::true_type{});
    else write_rows(std::false_type{});
  });
}

template <class T>
void batch_norm_backward(Cpu dev, const T* x, const T* dy, BatchNormShape s, BatchNormChannels<T> p, bool training,
                         bool relu, BatchNormGradients<T> g) {
  if (relu) batch_norm_backward<true>(dev, x, dy, s, p, training, g);
  else batch_norm_backward<false>(dev, x, dy, s, p, training, g);
}

}  // namespace qdistill::inline QDISTILL_ABI::kernels
