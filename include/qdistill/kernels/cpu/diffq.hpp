/// DiffQ (Defossez, Adi, Synnaeve 2022): weights with noise instead of rounding, a bit width per group.
///
///   w: n values in groups of g consecutive ones (g divides n); one logit l per group, t = sigmoid(l)
///   bits    b = t high + (1 - t) low               or, interpolating the noise's scale,
///           b = log2(1 + 1 / u),  u = exp(t ln u(high) + (1 - t) ln u(low))
///   unit    u = 1 / (2^b - 1)                      du/db = -ln 2 u (1 + u)
///   noisy   w~ = w + (max w - min w) u n           n: kernels/cpu/noise.hpp; max and min of all of w
///   size    sum of g b, with its gradient in l
///
/// One pass over memory each, in blocks of 256 elements that are cut by n and g alone.
#pragma once

#include "qdistill/kernels/cpu/losses_reduce.hpp"
#include "qdistill/kernels/cpu/noise.hpp"
#include "qdistill/kernels/cpu/uniform_quantize.hpp"

namespace qdistill::inline QDISTILL_ABI::kernels {

/// From a logit to the number of bits and to the noise's unit. Without branches, so that loops vectorise: what is
/// interpolated is a template argument, which `choose` gives.
template <class T>
struct BitsRule {
  T low = 2, high = 15;     ///< bits
  T e_low = 0, e_high = 0;  ///< of which sigmoid(l) is a mean: b ln 2, or by noise ln u(b)
  bool by_noise = false;

  static BitsRule from(double low, double high, bool by_noise) {
    const auto e = [by_noise](double b) {
      return static_cast<T>(by_noise ? -std::log(std::exp2(b) - 1) : b * 0.69314718055994530942);
    };
    return {static_cast<T>(low), static_cast<T>(high), e(low), e(high), by_noise};
  }
  /// f(std::bool_constant<by_noise>()).
  template <class F>
  auto choose(F f) const {
    return by_noise ? f(std::true_type()) : f(std::false_type());
  }
  template <bool noise>
  QDISTILL_INLINE T unit(T l) const noexcept {
    const T t = math::sigmoid(l), e = math::exp(t * e_high + (T(1) - t) * e_low);
    if constexpr (noise) return e;
    else return T(1) / (e - T(1));
  }
  template <bool noise>
  QDISTILL_INLINE T unit_gradient(T l) const noexcept {
    const T t = math::sigmoid(l), u = unit<noise>(l), slope = (e_high - e_low) * t * (T(1) - t) * u;
    if constexpr (noise) return slope;
    else return -slope * (T(1) + u);
  }
  template <bool noise>
  QDISTILL_INLINE T bits(T l) const noexcept {
    const T t = math::sigmoid(l);
    if constexpr (noise) return math::log1p(T(1) / unit<noise>(l)) * T(1.4426950408889634074);
    else return t * high + (T(1) - t) * low;
  }
  template <bool noise>
  QDISTILL_INLINE T bits_gradient(T l) const noexcept {
    const T t = math::sigmoid(l), slope = t * (T(1) - t);
    if constexpr (noise) return (e_low - e_high) * slope * T(1.4426950408889634074) / (T(1) + unit<noise>(l));
    else return (high - low) * slope;
  }
};

namespace detail {

inline constexpr Index group_block = 256;

/// Sums that a pass over blocks leaves: one per group, or per block where groups are longer than one.
constexpr Index group_sums(Index n, Index g) noexcept {
  return g <= group_block ? n / g : n / g * ((g + group_block - 1) / group_block);
}

/// Calls f(begin, count, group, groups, slot), marked QDISTILL_ISA_BODY, for blocks of at most 256 elements: whole
/// groups, the first of them `group`, or a part of one; `slot` is the place of the block's first sum. In parallel.
template <class F>
void for_group_blocks(Index n, Index g, F f) {
  constexpr Index grain = memory_grain / 4;
  if (g <= group_block) {
    const Index per_block = group_block / g;
    parallel_for(n / g, grain / group_block * per_block, [=](Index first, Index last) {
      with_isa([=]() QDISTILL_ISA_BODY {
        for (Index j = first; j < last; j += per_block) {
          const Index groups = last - j < per_block ? last - j : per_block;
          f(j * g, groups * g, j, groups, j);
        }
      });
    });
    return;
  }
  const Index per_group = (g + group_block - 1) / group_block;
  parallel_for(n / g * per_group, grain / group_block, [=](Index first, Index last) {
    with_isa([=]() QDISTILL_ISA_BODY {
      for (Index b = first; b < last; ++b) {
        const Index group = b / per_group, begin = group * g + b % per_group * group_block, end = (group + 1) * g;
        f(begin, end - begin < group_block ? end - begin : group_block, group, Index{1}, b);
      }
    });
  });
}

/// out[k each + i] = in[k]
template <class T>
QDISTILL_INLINE void repeat_each(const T* __restrict in, Index count, Index each, T* __restrict out) {
  const auto repeat = [=](auto length) QDISTILL_ISA_BODY {
    for (Index k = 0; k < count; ++k) {
      QDISTILL_SIMD
      for (Index i = 0; i < length; ++i) out[k * length + i] = in[k];
    }
  };
  if (each == 4) repeat(std::integral_constant<Index, 4>());
  else if (each == 8) repeat(std::integral_constant<Index, 8>());
  else if (each == 16) repeat(std::integral_constant<Index, 16>());
  else repeat(each);
}

/// sums[k] = sum of v[k each + i] over i < each: by neighbouring pairs while their number is even, then in order.
/// Overwrites v.
template <class T>
QDISTILL_INLINE void sum_each(T* v, Index count, Index each, T* __restrict sums) {
  for (; each % 2 == 0; each /= 2) {
    QDISTILL_SIMD
    for (Index i = 0; i < count * each / 2; ++i) v[i] = v[2 * i] + v[2 * i + 1];
  }
  for (Index k = 0; k < count; ++k) {
    T sum = 0;
    for (Index i = 0; i < each; ++i) sum += v[k * each + i];
    sums[k] = sum;
  }
}

}  // namespace detail

/// out = w + range u n, for n > 0 values. `range` is max w - min w.
template <class T>
void diffq_noisy(Cpu, Index n, Index g, const T* w, const T* logit, const BitsRule<T>& rule, T range,
                 const PseudoNoise<T>& noise, T* out) {
  rule.choose([&](auto by_noise) {
    detail::for_group_blocks(n, g, [=](Index begin, Index count, Index group, Index groups, Index) QDISTILL_ISA_BODY {
      T buffer[noise_room(detail::group_block)], unit[detail::group_block], scale[detail::group_block];
      const T* const __restrict z = noise_block(noise, begin, count, buffer);
      const BitsRule<T> r = rule;  // a local, which no store can change
      QDISTILL_SIMD
      for (Index k = 0; k < groups; ++k) unit[k] = range * r.template unit<by_noise()>(logit[group + k]);
      detail::repeat_each(unit, groups, count / groups, scale);
      const T* const __restrict from = w + begin;
      T* const __restrict to = out + begin;
      QDISTILL_SIMD
      for (Index i = 0; i < count; ++i) to[i] = from[i] + scale[i] * z[i];
    });
  });
}

/// Where the gradients of diffq_noisy go; a null pointer is skipped.
template <class T>
struct DiffqGradients {
  T* w = nullptr;
  Write w_mode = Write::set;
  RangePlaces ends = {};  ///< of w
  T* logit = nullptr;
  Write logit_mode = Write::set;
};

/// With s_j the sum of dy n over group j:  dl_j = range du/dl s_j,  dw = dy + (e_highest - e_lowest) sum_j u_j s_j.
/// `sums`: room for detail::group_sums(n, g).
template <class T>
void diffq_noisy_backward(Cpu, Index n, Index g, const T* dy, const T* logit, const BitsRule<T>& rule, T range,
                          const PseudoNoise<T>& noise, T* sums, const DiffqGradients<T>& out) {
  T* const dw = out.w;
  const bool add = out.w_mode == Write::add;
  detail::for_group_blocks(n, g, [=](Index begin, Index count, Index, Index groups, Index slot) QDISTILL_ISA_BODY {
    T buffer[noise_room(detail::group_block)], product[detail::group_block];
    const T* const __restrict z = noise_block(noise, begin, count, buffer);
    const T* const __restrict in = dy + begin;
    QDISTILL_SIMD
    for (Index i = 0; i < count; ++i) product[i] = in[i] * z[i];
    if (groups == 1) {
      const T* const p = product;
      sums[slot] = lane_sum<T>(count, [p](Index i) QDISTILL_ISA_BODY { return p[i]; });
    } else {
      detail::sum_each(product, groups, count / groups, sums + slot);
    }
    if (!dw) return;
    T* const __restrict to = dw + begin;
    if (add) {
      QDISTILL_SIMD
      for (Index i = 0; i < count; ++i) to[i] += in[i];
    } else {
      QDISTILL_SIMD
      for (Index i = 0; i < count; ++i) to[i] = in[i];
    }
  });
  const Index groups = n / g, parts = detail::group_sums(n, g) / groups;
  for (Index j = 0; parts > 1 && j < groups; ++j) {
    double sum = 0;
    for (Index k = 0; k < parts; ++k) sum += static_cast<double>(sums[j * parts + k]);
    sums[j] = static_cast<T>(sum);
  }
  T* const dl = out.logit && out.logit_mode == Write::set ? out.logit : sums;
  const double of_range = rule.choose([&](auto by_noise) {
    return sum_map<T>(Cpu{}, groups, [=](Index j) QDISTILL_ISA_BODY {
      const T l = logit[j], s = sums[j];
      dl[j] = range * rule.template unit_gradient<by_noise()>(l) * s;
      return rule.template unit<by_noise()>(l) * s;
    });
  });
  if (dw) {
    dw[out.ends.highest] += static_cast<T>(of_range);
    dw[out.ends.lowest] -= static_cast<T>(of_range);
  }
  if (out.logit && dl != out.logit) add_elements(dl, out.logit, groups);
}

namespace detail {

/// f(j, r), marked QDISTILL_ISA_BODY, for every group j, where r is a copy of the rule; f inlines.
template <class T, class F>
void for_each_group(Index groups, const BitsRule<T>& rule, F f) {
  parallel_for(groups, memory_grain / 4, [=](Index begin, Index end) {
    with_isa([=]() QDISTILL_ISA_BODY {
      const BitsRule<T> r = rule;
      QDISTILL_SIMD
      for (Index j = begin; j < end; ++j) f(j, r);
    });
  });
}

}  // namespace detail

/// b of each group.
template <class T>
void diffq_bits(Cpu, Index groups, const T* logit, const BitsRule<T>& rule, T* bits) {
  rule.choose([&](auto by_noise) {
    detail::for_each_group(groups, rule, [=](Index j, const BitsRule<T>& r) QDISTILL_ISA_BODY {
      bits[j] = r.template bits<by_noise()>(logit[j]);
    });
  });
}

/// The sum of the groups' bits.
template <class T>
double diffq_bit_sum(Cpu, Index groups, const T* logit, const BitsRule<T>& rule) {
  return rule.choose([&](auto by_noise) {
    return sum_map<T>(Cpu{}, groups,
                      [=](Index j) QDISTILL_ISA_BODY { return rule.template bits<by_noise()>(logit[j]); });
  });
}

/// dl (=|+=) scale db/dl
template <class T>
void diffq_bits_backward(Cpu, Index groups, const T* logit, const BitsRule<T>& rule, T scale, T* dl, Write write) {
  rule.choose([&](auto by_noise) {
    if (write == Write::add)
      detail::for_each_group(groups, rule, [=](Index j, const BitsRule<T>& r) QDISTILL_ISA_BODY {
        dl[j] += scale * r.template bits_gradient<by_noise()>(logit[j]);
      });
    else
      detail::for_each_group(groups, rule, [=](Index j, const BitsRule<T>& r) QDISTILL_ISA_BODY {
        dl[j] = scale * r.template bits_gradient<by_noise()>(logit[j]);
      });
  });
}

/// Uniform levels between `beta` and `beta` + `alpha` with widths[j] bits in group j (kernels/cpu/uniform_formula.hpp).
/// `values` and `codes` may be null.
template <class T>
void grouped_quantize(Cpu, Index n, Index g, const T* v, const std::uint8_t* widths, T alpha, T beta, T* values,
                      std::uint16_t* codes) {
  detail::for_group_blocks(n, g, [=](Index begin, Index count, Index group, Index groups, Index) QDISTILL_ISA_BODY {
    T divisor[detail::group_block], level[detail::group_block];
    const Index each = count / groups;
    for (Index k = 0; k < groups; ++k)
      for (Index i = 0; i < each; ++i) divisor[k * each + i] = static_cast<T>((1 << widths[group + k]) - 1);
    QDISTILL_SIMD
    for (Index i = 0; i < count; ++i) level[i] = quantize_level<T>(v[begin + i], divisor[i], alpha, beta);
    if (values) {
      QDISTILL_SIMD
      for (Index i = 0; i < count; ++i) values[begin + i] = dequantize<T>(level[i], divisor[i], alpha, beta);
    }
    if (codes)
      for (Index i = 0; i < count; ++i) codes[begin + i] = static_cast<std::uint16_t>(level[i]);
  });
}

}  // namespace qdistill::inline QDISTILL_ABI::kernels
