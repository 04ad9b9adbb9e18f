/// The tables, pictures and page.
#include "qdistill/train/report.hpp"

#include "experiment.hpp"
#include "qdistill/train/plot.hpp"

namespace noise_is_gaussian {

namespace {

namespace svg = train::svg;

std::vector<const Row*> rows_of(const Results& r, std::size_t which) {
  std::vector<const Row*> out;
  for (const Row& row : r.rows)
    if (row.which == which) out.push_back(&row);
  return out;
}

/// A histogram of S_n / s_n from -4 to 4 with the normal density over it, in a box of w x h pixels.
std::string panel(const Row& row, std::size_t color, double x0, double y0, double w, double h) {
  constexpr int bins = 40;
  constexpr double range = 4, top = 0.62;  // density at the upper edge; higher bars are cut
  std::vector<double> counts(bins);
  for (const double v : row.sample) {
    const double at = (v + range) / (2 * range) * bins;
    if (at >= 0 && at < bins) counts[static_cast<std::size_t>(at)] += 1;
  }
  const double scale = bins / (2 * range) / static_cast<double>(row.sample.size());
  std::string bars, curve;
  for (int b = 0; b < bins; ++b) {
    const double height = std::min(counts[static_cast<std::size_t>(b)] * scale / top, 1.0) * h;
    if (height < 0.05) continue;
    bars += 'M' + svg::px(x0 + b * w / bins) + ' ' + svg::px(y0 + h) + 'v' + svg::px(-height) + 'h' +
            svg::px(w / bins) + 'v' + svg::px(height) + 'z';
  }
  for (int k = 0; k <= 80; ++k) {
    const double t = -range + 2 * range * k / 80, density = std::exp(-t * t / 2) / std::sqrt(2 * std::acos(-1.0));
    curve += (k ? 'L' : 'M') + svg::px(x0 + w * k / 80) + ' ' + svg::px(y0 + h * (1 - density / top));
  }
  return "<path d=\"" + bars + "\" class=\"" + svg::color_class(color) +
         "\" fill=\"currentColor\" fill-opacity=\"0.55\"/>\n<path d=\"" + curve +
         "\" class=\"qp-c5\" fill=\"none\" stroke=\"currentColor\" stroke-width=\"1.4\"/>\n" +
         svg::line(x0, y0 + h, x0 + w, y0 + h, "qp-a");
}

/// A row of panels for each case, a column for each of some n.
train::Svg histograms(const Results& r) {
  const auto all = rows_of(r, 0);
  const std::vector<std::size_t> columns{0, 1, 2, all.size() - 1};
  const double left = 16, width = 176, gap = 12, height = 92, pitch = 128, top = 84;
  const double right = left + 4 * width + 3 * gap + 16;
  const double bottom = top + pitch * static_cast<double>(r.cases.size());
  std::string out = svg::open(right, bottom + 14, "Histograms of the normalised error for each case and length");
  out += train::plot::headings("Normalised error of the scalar product",
                               "Bars: S_n / s_n as drawn, from -4 to 4. Line: the normal density.", right);
  for (std::size_t k = 0; k < columns.size(); ++k) {
    const double x = left + static_cast<double>(k) * (width + gap);
    out +=
        svg::label(x + width / 2, top - 18, "n = " + train::grouped(all[columns[k]]->n), "qp-t", svg::Anchor::middle);
    for (std::size_t c = 0; c < r.cases.size(); ++c) {
      const double y = top + pitch * static_cast<double>(c);
      out += panel(*rows_of(r, c)[columns[k]], c < 2 ? 0 : c < 4 ? 2 : 1, x, y + 16, width, height);
      if (k == 0) out += svg::label(left, y + 8, r.cases[c].name, "qp-m");
    }
  }
  return {out + svg::close()};
}

train::Svg distance_chart(const Results& r, const Settings& s) {
  train::LineChart chart;
  chart.title = "Distance from the normal distribution";
  chart.subtitle = train::one_line(text("sup |F - Phi| of ", train::grouped(s.draws), " draws"));
  chart.x = {.label = "n, number of products", .log = true};
  chart.y = {.label = "distance", .log = true};
  chart.width = 860, chart.height = 420;
  train::Series noise{"normal sample, 95 %", {}, {}};
  for (std::size_t c = 0; c < r.cases.size(); ++c) {
    train::Series series{r.cases[c].name, {}, {}};
    for (const Row* row : rows_of(r, c)) {
      series.x.push_back(static_cast<double>(row->n)), series.y.push_back(row->distance);
      if (c > 0) continue;
      noise.x.push_back(static_cast<double>(row->n));
      noise.y.push_back(sampling_distance(static_cast<double>(s.draws), 0.05));
    }
    chart.series.push_back(std::move(series));
  }
  chart.series.push_back(std::move(noise));
  return train::line_chart(chart);
}

train::Svg bound_chart(const Results& r) {
  train::LineChart chart;
  chart.title = "The bound on that distance";
  chart.subtitle = "0.56 L_n, exact; it falls as 1 / sqrt(n) where the conditions hold";
  chart.x = {.label = "n, number of products", .log = true};
  chart.y = {.label = "0.56 L_n", .log = true};
  chart.width = 860;
  for (std::size_t c = 0; c < r.cases.size(); ++c) {
    train::Series series{r.cases[c].name, {}, {}};
    for (const Row* row : rows_of(r, c))
      series.x.push_back(static_cast<double>(row->n)), series.y.push_back(row->bound());
    chart.series.push_back(std::move(series));
  }
  return train::line_chart(chart);
}

}  // namespace

train::Table distance_table(const Results& r) {
  std::vector<train::Column> columns{{"n"}};
  for (const Case& c : r.cases) columns.push_back({c.name, "", 4});
  train::Table table(columns);
  for (const Row* first : rows_of(r, 0)) {
    std::vector<train::Cell> line{first->n};
    for (const Row& row : r.rows)
      if (row.n == first->n) line.push_back(row.distance);
    table.add(std::move(line));
  }
  return table;
}

train::Table rows_table(const Results& r) {
  train::Table table({{"case"},
                      {"n"},
                      {"mean", "standard errors"},
                      {"s_n^2 / n", "", 4},
                      {"drawn / exact variance", "", 3},
                      {"s_n^2 / its bound", "", 3},
                      {"skewness", "", 3},
                      {"drawn", "", 3},
                      {"excess kurtosis", "", 3},
                      {"drawn", "", 3},
                      {"distance", "", 4},
                      {"0.56 L_n", "", 4},
                      {"max|term| / s_n", "", 4}});
  for (std::size_t c = 0; c < r.cases.size(); ++c) {
    if (c > 0) table.rule();
    for (const Row* row : rows_of(r, c))
      table.add({r.cases[c].name, row->n, row->mean_z, row->law.variance / static_cast<double>(row->n),
                 row->drawn.variance, row->law.variance / row->law.variance_bound, row->law.skewness,
                 row->drawn.skewness, row->law.excess_kurtosis, row->drawn.excess_kurtosis, row->distance, row->bound(),
                 row->law.lyapunov_bound});
  }
  return table;
}

train::Table coordinates_table(const Results& r) {
  train::Table table({{"s"},
                      {"largest |Q(v) - v|", "steps", 4},
                      {"largest |mean error|", "standard errors"},
                      {"largest variance", "step^2 / 4", 4},
                      {"drawn / exact variance", "", 4}});
  for (const Coordinates& c : r.coordinates)
    table.add({c.steps, c.largest_error, c.largest_mean_z, c.largest_variance, c.drawn_variance});
  return table;
}

train::Table checks_table(const Results& r) {
  train::Table table({{"what"}, {"value", "", 6}, {"limit", "", 6}, {"holds"}});
  for (const Check& c : r.checks) table.add({c.what, c.value, c.limit, c.holds ? "yes" : "no"});
  return table;
}

std::string report_html(const Results& r, const Settings& s, const train::Json& manifest) {
  train::Report report("Stochastic quantization adds normal noise");
  report.paragraph(
      "Uniform quantization with s + 1 levels in buckets of 256, rounded up or down at random so that the mean is "
      "right. S_n is the error that this makes in a scalar product of n weights v and inputs x: sum Q(v_i) x_i - sum "
      "v_i x_i, or with Q(x_i) in place of x_i where the inputs are quantized too. If all |v_i| and |x_i| are bounded "
      "and its variance s_n^2 grows without bound, S_n / s_n tends to a normal variable (Polino, Pascanu and Alistarh "
      "2018, appendix B; inputs: theorem B.3).");
  report.paragraph(
      "The law of S_n is known exactly: each rounding takes one of two values. Drawn figures come from the library's "
      "quantizer and stand beside the exact ones. Weights are normal, inputs magnitudes of normal "
      "numbers, all cut off at 3. Two cases break a condition and stay away from the normal: an input that grows with "
      "n, its "
      "product holding three quarters of the variance (no bound on |x_i|), and inputs that halve from one to the next "
      "(s_n stays bounded; the sum tends to a uniform distribution).");
  const auto failed = std::count_if(r.checks.begin(), r.checks.end(), [](const Check& c) { return !c.holds; });
  report.heading("The noise")
      .figure(histograms(r),
              "With few products the sum has few values. Blue: weights quantized; green: inputs too; red: the cases "
              "outside "
              "the theorem. Bars that are higher than the box are cut.");
  report.heading("How fast")
      .figure(distance_chart(r, s),
              "Below the line of the normal sample a distribution cannot be told from the normal with so many draws.")
      .figure(bound_chart(r),
              "The inequality of Berry and Esseen, constant 0.56 (Shevtsova 2010), L_n the sum of the third absolute "
              "moments over s_n^3. That L_n vanishes is Lyapunov's condition.");
  report.table(distance_table(r), "The distances as numbers.");
  report.heading("Unbiased")
      .table(coordinates_table(r),
             "256 weights, each by itself. No error exceeds a step, no variance step^2 / 4; the largest mean error of "
             "so many weights is expected near 2.8 standard errors.");
  report.heading("Every sum").table(rows_table(r), "Exact figures, and drawn ones where the heading says so.");
  report.heading("Checks").paragraph(
      text(r.checks.size() - static_cast<std::size_t>(failed), " of ", r.checks.size(),
           " hold; each fails by chance with a probability of about 1e-7. They are in checks.csv."));
  if (failed > 0) {
    train::Table table({{"does not hold"}, {"value", "", 6}, {"limit", "", 6}});
    for (const Check& c : r.checks)
      if (!c.holds) table.add({c.what, c.value, c.limit});
    report.table(table);
  }
  report.heading("Where these figures come from").settings(manifest);
  return report.html();
}

}  // namespace noise_is_gaussian
