/// The tables, pictures and page.
#include "qdistill/train/report.hpp"

#include <cmath>

#include "qdistill/train/plot.hpp"
#include "study.hpp"

namespace projected_gradient {

namespace {

namespace svg = train::svg;

constexpr std::array<const char*, 3> titles{"unquantized", "accumulated", "projected gradient"};

const Descent& of(const Results& r, Method m) { return r.descents[static_cast<std::size_t>(m)]; }

std::string path(const std::string& d, std::size_t color, double width, const char* more = "") {
  return "<path d=\"" + d + "\" class=\"" + svg::color_class(color) +
         "\" fill=\"none\" stroke=\"currentColor\" stroke-linejoin=\"round\" stroke-width=\"" + svg::px(width) + "\"" +
         more + "/>\n";
}

std::vector<double> numbers(std::size_t n) {
  std::vector<double> out(n);
  for (std::size_t i = 0; i < n; ++i) out[i] = static_cast<double>(i);
  return out;
}

train::Svg loss_chart(const Results& r) {
  train::LineChart chart;
  chart.title = "Loss";
  chart.subtitle = "at the weights that the gradient is taken at";
  chart.x = {.label = "step"}, chart.y = {.label = "loss", .log = true};
  for (const Method m : {Method::unquantized, Method::projected, Method::accumulated})  // colours as in the bowl
    chart.series.push_back({titles[static_cast<std::size_t>(m)], numbers(of(r, m).loss.size()), of(r, m).loss});
  const auto steps = static_cast<double>(r.descents[0].loss.size() - 1);
  const double best = r.bowl.loss(r.bowl.best_grid_point());
  chart.series.push_back({"best grid point", {0, steps}, {best, best}});
  // The unquantized loss goes on falling; what is far below the grid is of no interest here.
  chart.y.min = best / 3;
  for (double& y : chart.series[0].y) y = y < chart.y.min ? std::nan("") : y;
  return train::line_chart(chart);
}

train::Svg switch_chart(const Results& r) {
  train::LineChart chart;
  chart.title = "What accumulation does";
  chart.subtitle = "the weight w2, step by step";
  chart.x = {.label = "step"}, chart.y = {.label = "w2"};
  const auto second = [](const std::vector<Point>& points) {
    std::vector<double> out;
    for (const Point& p : points) out.push_back(p[1]);
    return out;
  };
  const Descent &qd = of(r, Method::accumulated), &pg = of(r, Method::projected);
  chart.series.push_back({"stored, full precision", numbers(qd.stored.size()), second(qd.stored)});
  chart.series.push_back({"projected gradient", numbers(pg.used.size()), second(pg.used)});
  chart.series.push_back({"its quantized copy", numbers(qd.used.size()), second(qd.used)});
  return train::line_chart(chart);
}

train::Svg accuracy_chart(const Results& r) {
  train::LineChart chart;
  chart.title = "Training accuracy";
  chart.subtitle = "accumulated: full-precision weights are stored beside their quantized copy";
  chart.x = {.label = "epoch"}, chart.y = {.label = "%", .min = 0, .max = 100};
  for (const Training& t : r.trainings) {
    train::Series s{t.name(), {}, {}};
    for (std::size_t e = 0; e < t.accuracy.size(); ++e)
      s.x.push_back(static_cast<double>(e + 1)), s.y.push_back(100 * t.accuracy[e]);
    chart.series.push_back(std::move(s));
  }
  return train::line_chart(chart);
}

}  // namespace

std::string bowl_svg(const Results& r) {
  const Bowl& bowl = r.bowl;
  const Descent &qd = of(r, Method::accumulated), &pg = of(r, Method::projected);
  const double size = 560, left = 52, top = 124, range = 1.08;  // the picture shows [-range, range] in both weights
  const auto x = [&](double v) { return left + (v + range) / (2 * range) * size; };
  const auto y = [&](double v) { return top + (range - v) / (2 * range) * size; };
  const auto at = [&](const Point& p) { return svg::px(x(p[0])) + ' ' + svg::px(y(p[1])); };
  const auto polyline = [&](const std::vector<Point>& points) {
    std::string d;
    for (std::size_t i = 0; i < points.size(); ++i)
      if (i == 0 || points[i] != points[i - 1]) d += (i ? 'L' : 'M') + at(points[i]);
    return d;
  };
  const double width = left + size + 24;
  std::string out = svg::open(width, top + size + 56, "Paths of projected gradient and of quantized distillation");
  out += train::plot::headings("Two weights on a grid",
                               text("contours of the loss; dots: the ", bowl.levels(), " x ", bowl.levels(),
                                    " quantized points; learning rate ", r.lr),
                               width);

  // The legend, in two rows.
  const auto entry = [&](double lx, double ly, std::string sample, const std::string& name) {
    out += std::move(sample) + svg::label(lx + 34, ly + 4, name);
  };
  const auto sample_line = [](double lx, double ly, std::size_t color, double w, const char* more) {
    return path('M' + svg::px(lx) + ' ' + svg::px(ly) + "h26", color, w, more);
  };
  entry(16, 64, sample_line(16, 64, 0, 1.4, ""), "accumulated: stored weights");
  entry(320, 64, sample_line(320, 64, 2, 2.6, "") + svg::marker(1, 333, 64, 4.5, 2), "their quantized copy");
  entry(16, 86, sample_line(16, 86, 1, 2.6, "") + svg::marker(3, 29, 86, 4.5, 1), "projected gradient");
  entry(190, 86, sample_line(190, 86, 1, 1.4, " stroke-dasharray=\"3 3\""), "its steps before rounding");
  entry(388, 86, svg::marker(6, 401, 86, 5, 5), "minimum");
  entry(500, 86, "<circle cx=\"513\" cy=\"86\" r=\"8\" class=\"qp-f\" stroke-width=\"1.6\"/>\n", "best point");

  const std::string box = "x=\"" + svg::px(left) + "\" y=\"" + svg::px(top) + "\" width=\"" + svg::px(size) +
                          "\" height=\"" + svg::px(size) + "\"";
  out += "<clipPath id=\"qp-bowl\"><rect " + box + "/></clipPath>\n<g clip-path=\"url(#qp-bowl)\">\n";
  for (Index i = 0; i + 1 < bowl.levels(); ++i) {  // where rounding changes
    const double v = (bowl.level(i) + bowl.level(i + 1)) / 2;
    out += svg::line(x(v), top, x(v), top + size, "qp-g") + svg::line(left, y(v), left + size, y(v), "qp-g");
  }
  const double c = std::cos(bowl.angle), s = std::sin(bowl.angle);
  for (double level = 0.005; level < 4; level *= 2) {
    std::string d;
    for (int k = 0; k < 120; ++k) {
      const double t = 2 * std::acos(-1.0) * k / 120;
      const double a = std::sqrt(2 * level / bowl.steep) * std::cos(t),
                   b = std::sqrt(2 * level / bowl.flat) * std::sin(t);
      d += (k ? 'L' : 'M') + at({bowl.centre[0] + a * c - b * s, bowl.centre[1] + a * s + b * c});
    }
    out += "<path d=\"" + d + "Z\" class=\"qp-a\" stroke-width=\"1\" stroke-opacity=\"0.75\"/>\n";
  }
  out += "</g>\n<rect " + box + " class=\"qp-a\"/>\n";
  for (Index i = 0; i < bowl.levels(); ++i) {
    for (Index j = 0; j < bowl.levels(); ++j)
      out += "<circle cx=\"" + svg::px(x(bowl.level(i))) + "\" cy=\"" + svg::px(y(bowl.level(j))) +
             "\" r=\"2.2\" class=\"qp-m\"/>\n";
    const std::string tick = train::fixed(bowl.level(i), 2);
    out += svg::label(x(bowl.level(i)), top + size + 18, tick, "qp-m", svg::Anchor::middle);
    out += svg::label(left - 8, y(bowl.level(i)) + 4, tick, "qp-m", svg::Anchor::end);
  }
  out += svg::label(left + size / 2, top + size + 40, "w1", "qp-t", svg::Anchor::middle);
  out += svg::label(16, top - 8, "w2");

  const Point best = bowl.best_grid_point();
  out += "<circle cx=\"" + svg::px(x(best[0])) + "\" cy=\"" + svg::px(y(best[1])) +
         "\" r=\"11\" class=\"qp-f\" stroke-width=\"1.6\"/>\n";
  out += path(polyline(qd.used), 2, 2.6) + path(polyline(qd.stored), 0, 1.4);
  for (std::size_t i = 0; i + 1 < pg.stored.size(); ++i) {
    if (i > 0 && pg.used[i] == pg.used[i - 1] && pg.stored[i + 1] == pg.stored[i]) continue;
    out += path('M' + at(pg.used[i]) + 'L' + at(pg.stored[i + 1]), 1, 1.4, " stroke-dasharray=\"3 3\"");
  }
  out += path(polyline(pg.used), 1, 2.6);
  const auto points = [&](const Descent& d, std::size_t shape, std::size_t color) {
    for (std::size_t i = 0; i < d.used.size(); ++i)
      if (i == 0 || d.used[i] != d.used[i - 1])
        out += svg::marker(shape, x(d.used[i][0]), y(d.used[i][1]), 4.5, color, text("step ", i));
  };
  points(qd, 1, 2);
  points(pg, 3, 1);
  out += svg::marker(6, x(bowl.centre[0]), y(bowl.centre[1]), 5, 5, "minimum of the loss");
  const auto note = [&](const Point& p, double dx, double dy, const std::string& words, svg::Anchor anchor) {
    out += svg::label(x(p[0]) + dx, y(p[1]) + dy, words, "qp-t qp-o", anchor);
  };
  note(pg.stored[0], 8, -10, "start", svg::Anchor::start);
  note(pg.used.back(), 14, -10, text("stuck from step ", pg.last_move()), svg::Anchor::start);
  return out + svg::close();
}

train::Table sweep_table(const Results& r) {
  train::Table table({{"learning rate", "", 3},
                      {"excess loss, accumulated", "", 5},
                      {"excess loss, projected", "", 5},
                      {"at the best point, accumulated", "%", 0},
                      {"at the best point, projected", "%", 0},
                      {"projected never moved", "%", 0}});
  for (const Sweep& s : r.sweeps)
    table.add({s.lr, s.excess[1], s.excess[2], 100 * s.at_best[1], 100 * s.at_best[2], 100 * s.never_moved});
  return table;
}

train::Table training_table(const Results& r) {
  train::Table table({{"training"},
                      {"training accuracy", "%", 1},
                      {"test accuracy", "%", 1},
                      {"weights that changed level", "%", 1},
                      {"seconds", "", 1}});
  for (const Training& t : r.trainings)
    table.add({t.name(), 100 * t.accuracy.back(), 100 * t.test_accuracy,
               t.bits > 0 ? train::Cell(100 * t.switched) : train::Cell(), t.seconds});
  return table;
}

std::string report_html(const Results& r, const train::Json& manifest) {
  const Descent &qd = of(r, Method::accumulated), &pg = of(r, Method::projected);
  const double best = r.bowl.loss(r.bowl.best_grid_point());
  train::Report report("Projected gradient gets stuck");
  report.paragraph(
      "Two ways to train quantized weights. Projected gradient takes a step and rounds the weights to the grid; what "
      "rounding removes is lost, so a step below half a grid step never has an effect. Accumulation, which is what "
      "quantized distillation does, keeps full-precision weights beside their quantized copy: the gradient at the copy "
      "is added to them, and small steps add up until the copy switches to another level (Polino, Pascanu and Alistarh "
      "2018, Algorithm 1; their figure 1 draws such a switch).");
  report.heading("On two weights")
      .figure({bowl_svg(r)},
              text("Projected gradient makes ", pg.moves(), " moves, the last in step ", pg.last_move(),
                   ", and stays where the loss is ", train::significant(pg.loss.back()), "; the best grid point has ",
                   train::significant(best), ", the quantized copy ends at ", train::significant(qd.loss.back()),
                   ". Dashed: where each projected step would have gone."))
      .figure(
          switch_chart(r),
          "Small steps add up in the stored weight; its copy switches when it crosses half way. At the best point the "
          "gradient is small but not zero, so the copy goes on switching now and then; a falling rate ends that.")
      .figure(loss_chart(r));
  report.table(sweep_table(r),
               "Random starts on the same bowl. Excess: mean loss in the end above that of the best grid point. With "
               "large steps projected gradient moves too, and the accumulated weights may end a switch away from the "
               "best point, since the gradient there is not zero.");
  if (!r.trainings.empty()) {
    report.heading("On a network")
        .paragraph(
            "A small convolutional network on generated digits, every tensor quantized in buckets of 256, trained on "
            "the labels with momentum from the same start with the same settings.")
        .figure(accuracy_chart(r))
        .table(training_table(r), "A weight changed its level if it ends on another one than it started on.");
  }
  report.heading("Where these figures come from").settings(manifest);
  return report.html();
}

}  // namespace projected_gradient
