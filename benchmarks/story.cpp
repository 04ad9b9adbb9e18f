/// One convolution, made fast step by step: the layer 76 -> 76, 3 x 3, of the CIFAR-10 teacher on 32 x 32 pixels,
/// forward. docs/performance.md tells what each step is about. Counter: gflops (direct algorithm).
#include <cstring>

#include "common.hpp"
#include "qdistill/core/tensor.hpp"
#include "qdistill/kernels/cpu/conv.hpp"
#include "qdistill/kernels/cpu/gemm.hpp"

namespace qdistill_bench {

constexpr Index images = 8, channels = 76, side = 32, taps = 9, pixels = side * side;
using Step = void (*)(const float* x, const float* w, float* y, float* scratch);

/// The definition: six loops around a multiply-add.
void plain(const float* x, const float* w, float* y, float*) {
  for (Index n = 0; n < images; ++n)
    for (Index o = 0; o < channels; ++o)
      for (Index i = 0; i < side; ++i)
        for (Index j = 0; j < side; ++j) {
          float sum = 0;
          for (Index c = 0; c < channels; ++c)
            for (Index a = 0; a < 3; ++a)
              for (Index b = 0; b < 3; ++b) {
                const Index h = i + a - 1, v = j + b - 1;
                if (h < 0 || h >= side || v < 0 || v >= side) continue;
                sum += x[((n * channels + c) * side + h) * side + v] * w[((o * channels + c) * 3 + a) * 3 + b];
              }
          y[((n * channels + o) * side + i) * side + j] = sum;
        }
}

/// Pixels of a row innermost, over an image padded with zeros: no branch, neighbours in memory, so it vectorises.
void rows(const float* x, const float* w, float* y, float* padded) {
  constexpr Index wide = side + 2;
  for (Index n = 0; n < images; ++n) {
    std::memset(padded, 0, sizeof(float) * channels * wide * wide);
    for (Index c = 0; c < channels; ++c)
      for (Index h = 0; h < side; ++h)
        std::memcpy(padded + (c * wide + h + 1) * wide + 1, x + ((n * channels + c) * side + h) * side,
                    sizeof(float) * side);
    for (Index o = 0; o < channels; ++o) {
      float* const plane = y + (n * channels + o) * pixels;
      std::memset(plane, 0, sizeof(float) * pixels);
      for (Index c = 0; c < channels; ++c)
        for (Index t = 0; t < taps; ++t) {
          const float weight = w[(o * channels + c) * taps + t];
          for (Index i = 0; i < side; ++i) {
            const float* const from = padded + (c * wide + i + t / 3) * wide + t % 3;
            float* const to = plane + i * side;
            for (Index j = 0; j < side; ++j) to[j] += weight * from[j];
          }
        }
    }
  }
}

/// Patches written out as a matrix (im2col).
void patches(const float* x, float* matrix) {
  for (Index c = 0; c < channels; ++c)
    for (Index t = 0; t < taps; ++t)
      for (Index i = 0; i < side; ++i)
        for (Index j = 0; j < side; ++j) {
          const Index h = i + t / 3 - 1, v = j + t % 3 - 1;
          const bool inside = h >= 0 && h < side && v >= 0 && v < side;
          matrix[(c * taps + t) * pixels + i * side + j] = inside ? x[(c * side + h) * side + v] : 0.0f;
        }
}

/// im2col and a product of three loops.
void im2col_loops(const float* x, const float* w, float* y, float* matrix) {
  for (Index n = 0; n < images; ++n) {
    patches(x + n * channels * pixels, matrix);
    float* const out = y + n * channels * pixels;
    std::memset(out, 0, sizeof(float) * channels * pixels);
    for (Index o = 0; o < channels; ++o)
      for (Index k = 0; k < channels * taps; ++k) {
        const float weight = w[o * channels * taps + k];
        for (Index p = 0; p < pixels; ++p) out[o * pixels + p] += weight * matrix[k * pixels + p];
      }
  }
}

/// im2col and the blocked product with the register tile.
void im2col_tile(const float* x, const float* w, float* y, float* matrix) {
  for (Index n = 0; n < images; ++n) {
    patches(x + n * channels * pixels, matrix);
    kernels::gemm(Cpu{}, false, false, channels, pixels, channels * taps, w, channels * taps, matrix, pixels,
                  y + n * channels * pixels, pixels);
  }
}

void library(const float* x, const float* w, float* y, ConvMode mode) {
  kernels::Conv2dShape s;
  s.N = images, s.C = s.O = channels, s.H = s.W = side, s.KH = s.KW = 3, s.pad_h = s.pad_w = 1;
  set_conv_mode(mode);
  kernels::conv2d_forward<float>(Cpu{}, s, x, w, nullptr, y);
  set_conv_mode(ConvMode::fast);
}

/// The product reads the patches from the image: no matrix in memory.
void implicit(const float* x, const float* w, float* y, float*) { library(x, w, y, ConvMode::exact); }
/// A quarter of the multiplications.
void winograd(const float* x, const float* w, float* y, float*) { library(x, w, y, ConvMode::fast); }

void add_step(const char* name, Step step) {
  add_case(text("story/", name), [step](benchmark::State& state) {
    const Tensor<float> x = Tensor<float>::uniform({images, channels, side, side}, {1, 1}, -1.0f, 1.0f);
    const Tensor<float> w = Tensor<float>::uniform({channels, channels, 3, 3}, {1, 2}, -1.0f, 1.0f);
    Tensor<float> y = Tensor<float>::empty(x.shape()),
                  scratch = Tensor<float>::empty({channels * taps, pixels + 4 * side});
    const double seconds = timed(state, 1, [&] { step(x.data(), w.data(), y.data(), scratch.data()); });
    rate(state, "gflops", 2e-9 * static_cast<double>(images * channels * channels) * static_cast<double>(taps * pixels),
         seconds);
  });
}

}  // namespace qdistill_bench

int main(int argc, char** argv) {
  using namespace qdistill_bench;
  add_step("1_plain", plain);
  add_step("2_rows", rows);
  add_step("3_im2col_loops", im2col_loops);
  add_step("4_im2col_tile", im2col_tile);
  add_step("5_implicit", implicit);
  add_step("6_winograd", winograd);
  return run(argc, argv);
}
