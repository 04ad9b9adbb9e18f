/// The generated default set: RGB digits of 32 x 32 that look somewhat like house numbers in the street. It needs no
/// file and is not trivial: stroke glyphs in several styles under a random affine warp, coloured, before a textured
/// background, with parts of neighbouring digits at the sides, lines, blur and noise.
///
/// Image i of a part is a function of (seed, part, i, difficulty) alone; images are drawn in parallel with the same
/// bytes for any number of threads. Arithmetic is in double with +, -, *, / and sqrt only, then rounded to bytes, so
/// compilers and instruction sets have next to no room to differ.
#pragma once

#include "qdistill/core/parallel.hpp"
#include "qdistill/data/dataset.hpp"
#include "qdistill/data/digit_glyphs.hpp"

namespace qdistill::inline QDISTILL_ABI::data {

/// What make_digits draws.
struct DigitsOptions {
  Index count = 10000;
  std::uint64_t seed = 1;
  Split split = Split::train;  ///< parts of one seed share no image
  /// Mean over the images. 0: clean digits, nearly all of which a small network reads; 1: many that a person guesses
  /// at.
  double difficulty = 0.4;
};

namespace detail {

/// Consecutive random numbers of one image. Compilers may evaluate a call's arguments in any order, so no expression
/// here draws twice.
class DigitRandom {
 public:
  DigitRandom(std::uint64_t seed, std::uint64_t stream) noexcept : seed_(seed), stream_(stream) {}
  std::uint32_t bits() noexcept {
    if (used_ == 4) block_ = philox(seed_, stream_, counter_++), used_ = 0;
    return block_[used_++];
  }
  /// Uniform in [0, 1).
  double uniform() noexcept { return bits() * 0x1p-32; }
  double uniform(double lo, double hi) noexcept { return lo + (hi - lo) * uniform(); }
  int below(int n) noexcept { return static_cast<int>((std::uint64_t{bits()} * static_cast<std::uint32_t>(n)) >> 32); }
  bool chance(double p) noexcept { return uniform() < p; }
  /// Bell-shaped with mean 0 and variance 1 from the four bytes of one number (their sum).
  double bell() noexcept {
    const std::uint32_t b = bits();
    const double sum = (b & 255) + (b >> 8 & 255) + (b >> 16 & 255) + (b >> 24);
    return (sum - 510.0) * (1.0 / 147.8);
  }

 private:
  std::uint64_t seed_, stream_, counter_ = 0;
  PhiloxBlock block_{};
  std::size_t used_ = 4;
};

/// p -> (xx p.x + xy p.y + x0, yx p.x + yy p.y + y0): from the box of a glyph to pixels.
struct DigitWarp {
  double xx = 1, xy = 0, x0 = 0, yx = 0, yy = 1, y0 = 0;
  GlyphPoint operator()(GlyphPoint p) const noexcept { return {xx * p.x + xy * p.y + x0, yx * p.x + yy * p.y + y0}; }
};

struct DigitColor {
  double r = 0, g = 0, b = 0;
  double luma() const noexcept { return 0.299 * r + 0.587 * g + 0.114 * b; }
};

/// One image while it is drawn: planes of 32 x 32 in 0 .. 1.
class DigitCanvas {
 public:
  static constexpr int side = 32, plane = side * side;

  double pixel[3][plane];

  /// Starts an empty mask of strokes.
  void clear_mask() noexcept { std::fill(distance_, distance_ + plane, far_away); }

  /// Adds the segment a - b to the mask: each pixel keeps the squared distance to the nearest stroke.
  void segment(GlyphPoint a, GlyphPoint b, double reach) noexcept {
    const int x0 = first(std::min(a.x, b.x) - reach), x1 = last(std::max(a.x, b.x) + reach);
    const int y0 = first(std::min(a.y, b.y) - reach), y1 = last(std::max(a.y, b.y) + reach);
    const double dx = b.x - a.x, dy = b.y - a.y, length2 = dx * dx + dy * dy;
    const double inverse = length2 > 0 ? 1 / length2 : 0;
    for (int y = y0; y < y1; ++y)
      for (int x = x0; x < x1; ++x) {
        const double px = x + 0.5 - a.x, py = y + 0.5 - a.y;
        const double t = std::min(1.0, std::max(0.0, (px * dx + py * dy) * inverse));
        const double ex = px - t * dx, ey = py - t * dy;
        double& d = distance_[y * side + x];
        d = std::min(d, ex * ex + ey * ey);
      }
  }

  /// Mixes `color` into the pixels within `half_width` of the mask's strokes, with soft edges.
  void paint(const DigitColor& color, double half_width, double opacity) noexcept {
    const double reach = half_width + 0.5;
    for (int i = 0; i < plane; ++i) {
      if (distance_[i] >= reach * reach) continue;
      const double a = opacity * std::min(1.0, reach - std::sqrt(distance_[i]));
      pixel[0][i] += a * (color.r - pixel[0][i]);
      pixel[1][i] += a * (color.g - pixel[1][i]);
      pixel[2][i] += a * (color.b - pixel[2][i]);
    }
  }

  /// Averages with the neighbours at distance `step`: (1 - 2 w) centre + w (both sides); the border repeats.
  void blur(double w, int step_x, int step_y) noexcept {
    double copy[plane];
    const auto inside = [](int v) { return v < 0 ? 0 : v > side - 1 ? side - 1 : v; };
    for (auto& p : pixel) {
      std::copy(p, p + plane, copy);
      for (int y = 0; y < side; ++y)
        for (int x = 0; x < side; ++x) {
          const double before = copy[inside(y - step_y) * side + inside(x - step_x)];
          const double behind = copy[inside(y + step_y) * side + inside(x + step_x)];
          p[y * side + x] = (1 - 2 * w) * copy[y * side + x] + w * (before + behind);
        }
    }
  }

 private:
  static constexpr double far_away = 1e9;
  static int first(double v) noexcept { return v < 0 ? 0 : v > side ? side : static_cast<int>(v); }
  static int last(double v) noexcept { return v < 0 ? 0 : v >= side ? side : static_cast<int>(v) + 1; }

  double distance_[plane];
};

/// Adds a digit to the mask. `jitter` moves its points in the glyph's box.
inline void add_glyph(DigitCanvas& canvas, int digit, int style, const DigitWarp& warp, double reach, double jitter,
                      DigitRandom& random) noexcept {
  for (const GlyphStroke& stroke : glyph_strokes) {
    if (stroke.digit != digit || stroke.style != style) continue;
    const int n = stroke.count;
    GlyphPoint p[11];
    for (int k = 0; k < n; ++k) {
      const GlyphPoint q = stroke.points[static_cast<std::size_t>(k)];
      const double x = q.x + jitter * random.uniform(-1, 1);
      const double y = q.y + jitter * random.uniform(-1, 1);
      p[k] = warp({x, y});
    }
    if (stroke.path == Path::line) {
      for (int k = 0; k + 1 < n; ++k) canvas.segment(p[k], p[k + 1], reach);
      continue;
    }
    const bool closed = stroke.path == Path::closed;
    const auto at = [&](int k) { return p[closed ? (k + n) % n : k < 0 ? 0 : k >= n ? n - 1 : k]; };
    for (int k = 0; k < (closed ? n : n - 1); ++k) {
      const GlyphPoint a = at(k - 1), b = at(k), c = at(k + 1), d = at(k + 2);
      GlyphPoint from = b;
      constexpr int pieces = 4;
      for (int s = 1; s <= pieces; ++s) {
        const double t = static_cast<double>(s) / pieces, t2 = t * t, t3 = t2 * t;
        const auto spline = [&](double pa, double pb, double pc, double pd) {
          return 0.5 *
                 (2 * pb + (pc - pa) * t + (2 * pa - 5 * pb + 4 * pc - pd) * t2 + (3 * pb - pa - 3 * pc + pd) * t3);
        };
        const GlyphPoint to{spline(a.x, b.x, c.x, d.x), spline(a.y, b.y, c.y, d.y)};
        canvas.segment(from, to, reach);
        from = to;
      }
    }
  }
}

inline DigitColor random_color(DigitRandom& random) noexcept {
  DigitColor c;
  c.r = random.uniform();
  c.g = random.uniform();
  c.b = random.uniform();
  return c;
}

/// A colour whose brightness differs from `other` by at least `contrast` (at most 0.5).
inline DigitColor contrasting_color(const DigitColor& other, double contrast, DigitRandom& random) noexcept {
  const double luma = other.luma();
  DigitColor c = random_color(random);
  for (int attempt = 0; attempt < 16; ++attempt) {
    const double d = c.luma() - luma;
    if (d >= contrast || -d >= contrast) return c;
    c = random_color(random);
  }
  const double grey = luma < 0.5 ? luma + contrast : luma - contrast;
  return {grey, grey, grey};
}

/// Fills the canvas with a gradient, blotches and sometimes stripes and an edge.
inline void paint_background(DigitCanvas& canvas, const DigitColor& base, double difficulty,
                             DigitRandom& random) noexcept {
  constexpr int side = DigitCanvas::side, cells = 5;
  const double spread = 0.06 + 0.24 * difficulty;
  const double colour[3] = {base.r, base.g, base.b};
  double gx[3], gy[3], blotch[3][(cells + 1) * (cells + 1)];
  const double blotch_size = random.uniform(0, 0.04 + 0.2 * difficulty);
  for (int c = 0; c < 3; ++c) {
    gx[c] = spread * random.uniform(-1, 1);
    gy[c] = spread * random.uniform(-1, 1);
    // Mostly common to the channels, as light is.
    for (int k = 0; k < (cells + 1) * (cells + 1); ++k) {
      const double own = random.uniform(-1, 1);
      blotch[c][k] =
          blotch_size * (c == 0 ? own : 0.75 * blotch[0][k] / (blotch_size > 0 ? blotch_size : 1) + 0.25 * own);
    }
  }
  const bool striped = random.chance(0.15 + 0.35 * difficulty);
  const double stripe = striped ? random.uniform(0.03, 0.06 + 0.16 * difficulty) : 0;
  const double period = random.uniform(3, 11), fx = random.uniform(-1, 1) / period, fy = random.uniform(-1, 1) / period;
  const bool edged = random.chance(0.1 + 0.3 * difficulty);
  const double edge = edged ? random.uniform(-0.25, 0.25) : 0;
  const double ex = random.uniform(-1, 1), ey = random.uniform(-1, 1), e0 = random.uniform(-0.4, 0.4);
  for (int y = 0; y < side; ++y)
    for (int x = 0; x < side; ++x) {
      const double u = (x + 0.5) / side, v = (y + 0.5) / side;
      const double bx = u * cells, by = v * cells;
      const int ix = static_cast<int>(bx), iy = static_cast<int>(by), at = iy * (cells + 1) + ix;
      const double tx = bx - ix, ty = by - iy;
      const double sx = tx * tx * (3 - 2 * tx), sy = ty * ty * (3 - 2 * ty);
      // A triangle wave from -1 to 1.
      const double phase = x * fx + y * fy + 64, wave = 4 * std::abs(phase - static_cast<int>(phase) - 0.5) - 1;
      const double common = stripe * wave + (ex * (u - 0.5) + ey * (v - 0.5) > 0.5 * e0 ? edge : 0);
      for (int c = 0; c < 3; ++c) {
        const double* b = blotch[c] + at;
        const double top = b[0] + sx * (b[1] - b[0]);
        const double bottom = b[cells + 1] + sx * (b[cells + 2] - b[cells + 1]);
        canvas.pixel[c][y * side + x] =
            colour[c] + gx[c] * (u - 0.5) + gy[c] * (v - 0.5) + top + sy * (bottom - top) + common;
      }
    }
}

/// Draws lines across the image, in colours of their own.
inline void paint_lines(DigitCanvas& canvas, int count, double opacity, DigitRandom& random) noexcept {
  for (int k = 0; k < count; ++k) {
    GlyphPoint a, b;
    a.x = random.uniform(-4, 36);
    a.y = random.uniform(-4, 36);
    b.x = random.uniform(-4, 36);
    b.y = random.uniform(-4, 36);
    const double half_width = random.uniform(0.3, 1.1);
    const DigitColor color = random_color(random);
    canvas.clear_mask();
    canvas.segment(a, b, half_width + 1);
    canvas.paint(color, half_width, opacity);
  }
}

/// Draws one image of `label`. out: (3, 32, 32) bytes.
inline void draw_digit(int label, double difficulty, DigitRandom random, std::uint8_t* out) noexcept {
  // Each image has a difficulty of its own around the mean, so that easy ones start the learning and hard ones end it.
  const double d = difficulty + random.uniform(-1, 1) * std::min(difficulty, 1 - difficulty);
  DigitCanvas canvas;

  const DigitColor ground = random_color(random);
  paint_background(canvas, ground, d, random);
  const int lines_behind = random.below(1 + static_cast<int>(0.5 + 4 * d));
  const double opacity_behind = random.uniform(0.3, 0.9);
  paint_lines(canvas, lines_behind, opacity_behind, random);

  // Height, width, slant and turn of the number; the turn by its half-angle tangent h, so no sine is needed.
  const double height = random.uniform(21 - 7 * d, 27), width = height * random.uniform(0.42, 0.72);
  const double h = random.uniform(-1, 1) * (0.04 + 0.14 * d), shear = random.uniform(-1, 1) * (0.08 + 0.3 * d);
  const double cosine = (1 - h * h) / (1 + h * h), sine = 2 * h / (1 + h * h);
  DigitWarp warp;
  warp.xx = width * cosine;
  warp.yx = width * sine;
  warp.xy = height * (-sine - shear * cosine);
  warp.yy = height * (cosine - shear * sine);
  const double shift = 1 + 4 * d;
  const double cx = 16 + random.uniform(-shift, shift), cy = 16 + random.uniform(-shift, shift);
  const auto centre = [](DigitWarp w, double x, double y) {
    w.x0 = x - 0.5 * (w.xx + w.xy);
    w.y0 = y - 0.5 * (w.yx + w.yy);
    return w;
  };

  const int style = random.below(glyph_styles);
  const double half_width = random.uniform(0.8, 1.1 + 0.09 * height), reach = half_width + 2.5;
  const double jitter = 0.02 + 0.05 * d;
  const DigitColor ink = contrasting_color(ground, random.uniform(0.3 - 0.2 * d, 0.5), random);
  const bool outlined = random.chance(0.25);
  const DigitColor outline = random_color(random);
  const double outline_width = random.uniform(0.6, 1.4);
  const double ink_opacity = random.uniform(1 - 0.35 * d, 1);

  // Neighbours stand on the number's own line, in its own ink; then the digit that counts.
  const double gap = random.uniform(2.0, 7.0);
  for (int neighbour = -1; neighbour <= 1; neighbour += 2) {
    if (!random.chance(0.2 + 0.7 * d)) continue;
    const int other = random.below(10);
    const double along = neighbour * (width + 2 * half_width + gap) / width;
    canvas.clear_mask();
    add_glyph(canvas, other, style, centre(warp, cx + along * warp.xx, cy + along * warp.yx), reach, jitter, random);
    if (outlined) canvas.paint(outline, half_width + outline_width, ink_opacity);
    canvas.paint(ink, half_width, ink_opacity);
  }
  canvas.clear_mask();
  add_glyph(canvas, label, style, centre(warp, cx, cy), reach, jitter, random);
  if (outlined) canvas.paint(outline, half_width + outline_width, ink_opacity);
  canvas.paint(ink, half_width, ink_opacity);

  const int lines_before = random.below(1 + static_cast<int>(0.5 + 3 * d));
  const double opacity_before = random.uniform(0.3, 0.5 + 0.4 * d);
  paint_lines(canvas, lines_before, opacity_before, random);

  const int blurs = random.below(2 + static_cast<int>(0.5 + 2 * d));
  for (int k = 0; k < blurs; ++k) {
    canvas.blur(random.uniform(0.1, 0.3), 1, 0);
    canvas.blur(random.uniform(0.1, 0.3), 0, 1);
  }
  if (random.chance(0.3 * d)) {
    const int step_x = 1 + random.below(2), step_y = random.below(3) - 1;
    canvas.blur(0.33, step_x, step_y);
  }

  // Contrast, light and noise (one part common to the channels, one of each). Contrast shrinks around the ground's own
  // brightness, so a network needs filters that sum to nearly zero: small networks and coarse codes suffer from that.
  const double contrast = random.uniform(1 - 0.85 * d, 1), brightness = random.uniform(0.15, 0.85);
  const double lift = brightness - contrast * ground.luma();
  const double noise = contrast * random.uniform(0.005, 0.02 + 0.12 * d);
  for (int i = 0; i < DigitCanvas::plane; ++i) {
    const double common = random.bell();
    for (int c = 0; c < 3; ++c) {
      const double v = contrast * canvas.pixel[c][i] + lift + noise * (0.7 * common + 0.7 * random.bell());
      out[c * DigitCanvas::plane + i] = static_cast<std::uint8_t>(255 * std::min(1.0, std::max(0.0, v)) + 0.5);
    }
  }
}

}  // namespace detail

/// Draws `count` digits: (count, 3, 32, 32), labels 0 .. 9 in equal numbers (each ten consecutive images hold all ten).
/// Throws ValueError for a count outside 0 .. 2^31 - 1 or a difficulty outside 0 .. 1.
inline ImageSet make_digits(const DigitsOptions& options) {
  constexpr Index most = std::numeric_limits<std::int32_t>::max();
  check(options.count >= 0 && options.count <= most, "digits", "got a count of ", options.count, ", expected 0 to ",
        most);
  check(options.difficulty >= 0 && options.difficulty <= 1, "digits", "got a difficulty of ", options.difficulty,
        ", expected 0 to 1");
  ImageSet set;
  set.image_shape = {3, detail::DigitCanvas::side, detail::DigitCanvas::side};
  set.class_count = 10;
  set.class_names = {"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"};
  set.name = text("digits ", name(options.split), " (generated)");
  const Index numel = set.image_shape.numel();
  set.pixels.resize(static_cast<std::size_t>(options.count * numel));
  set.labels.resize(static_cast<std::size_t>(options.count));

  const std::uint64_t key = detail::derive_seed(options.seed, options.split == Split::train ? 4 : 5);
  parallel_for(options.count, 64, [&](Index begin, Index end) {
    for (Index i = begin; i < end; ++i) {
      // A permutation of 0 .. 9 for each ten images: k -> a k + b modulo 10, a coprime to 10.
      const PhiloxBlock b = philox(key, ~std::uint64_t{0}, static_cast<std::uint64_t>(i / 10));
      constexpr std::uint32_t coprime[] = {1, 3, 7, 9};
      const auto label = static_cast<int>((coprime[b[0] >> 30] * static_cast<std::uint32_t>(i % 10) + b[1] % 10) % 10);
      set.labels[static_cast<std::size_t>(i)] = label;
      detail::draw_digit(label, options.difficulty, {key, static_cast<std::uint64_t>(i)},
                         set.pixels.data() + i * numel);
    }
  });
  return set;
}

}  // namespace qdistill::inline QDISTILL_ABI::data
