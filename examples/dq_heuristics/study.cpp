#include "study.hpp"

#include <cstdio>
#include <filesystem>

#include "../common/images.hpp"
#include "../common/run.hpp"
#include "../common/thin_student.hpp"
#include "qdistill/encoding/point_usage.hpp"
#include "qdistill/quant/pack.hpp"
#include "qdistill/train/format.hpp"

namespace dq_heuristics {

Settings preset(const std::string& name) {
  Settings s;
  s.preset = name;
  if (name == "quick") {
    s.spec = examples::thin_student();
    s.images = 12000, s.test_images = 4000, s.train_epochs = 8, s.epochs = 2;
    s.train_lr = 0.02, s.lr = 1e-4, s.batch = 50, s.augment = false;
    s.loss = {.temperature = 5, .teacher_weight = 0.7, .reduction = DistillationReduction::batch_mean};
  } else if (name == "paper") {
    s.spec = models::without_dropout(models::polino_student_1());
    s.train_epochs = 200, s.epochs = 50, s.train_lr = 0.005, s.lr = 1e-5;
    s.loss = {.temperature = 2, .teacher_weight = 0.7, .reduction = DistillationReduction::batch_times_classes};
  } else {
    fail("dq_heuristics", "got preset '", name, "', expected quick or paper");
  }
  return s;
}

train::Json Settings::json() const {
  return {{"preset", preset},
          {"network", network.empty() ? spec.name : network},
          {"data", data},
          {"images", images},
          {"test_images", test_images},
          {"train_epochs", train_epochs},
          {"train_lr", train_lr},
          {"epochs", epochs},
          {"lr", lr},
          {"batch", batch},
          {"augment", augment},
          {"temperature", loss.temperature},
          {"teacher_weight", loss.teacher_weight},
          {"bits", bits},
          {"seed", seed}};
}

train::Json Heuristics::json() const {
  return {{"bits", bits},
          {"redistribution", redistribute},
          {"start", quantiles ? "quantiles" : "uniform"},
          {"loss", distillation ? "distillation" : "normal"}};
}

Study::Study(Settings settings, std::string folder, std::vector<std::string> arguments, train::ProgressSink& progress,
             const std::atomic<bool>& stop)
    : s_(std::move(settings)), progress_(progress), stop_(stop) {
  examples::Generated generated;
  if (s_.images > 0) generated.train = s_.images;
  if (s_.test_images > 0) generated.test = s_.test_images;
  examples::load_images(s_.data, generated, train_set_, test_set_);
  const auto part = [](Index wanted, Index all) { return wanted > 0 && wanted < all ? wanted : all; };
  const Index images = part(s_.images, train_set_.size());
  auto parts = data::split_validation(data::balanced_subset(train_set_, images, s_.seed), images / 10, s_.seed);
  train_ = std::make_unique<data::Subset>(std::move(parts.train));
  validation_ = std::make_unique<data::Subset>(std::move(parts.validation));
  test_ =
      std::make_unique<data::Subset>(data::balanced_subset(test_set_, part(s_.test_images, test_set_.size()), s_.seed));

  std::uint64_t whole_cells = 0;
  const bool resume = std::filesystem::exists(folder + "/log.jsonl");
  if (resume) {
    const train::Json before = train::parse_json(train::detail::file_text(folder + "/manifest.json"), folder);
    check(before.at("settings") == s_.json(), "dq_heuristics", folder,
          " holds a run with other settings: ", train::json_line(before.at("settings")),
          ". HINT: choose another --name");
    const std::string log = train::detail::file_text(folder + "/log.jsonl");
    for (std::size_t begin = 0, end = log.find('\n'); end != std::string::npos; end = log.find('\n', begin)) {
      train::Json event = train::parse_json(std::string_view(log).substr(begin, end - begin), folder + "/log.jsonl");
      begin = end + 1;
      if (event.at("event") == "cell") cells_.push_back(std::move(event)), whole_cells = begin;
    }
  }
  record_ = std::make_unique<train::RunRecord>(resume ? train::RunRecord::resume(folder, whole_cells)
                                                      : train::RunRecord::create(folder));
  record_->write_manifest(train::manifest(examples::run_info(std::move(arguments), s_.seed, train_set_.name,
                                                             text("philox:", data::checksum(train_set_)), s_.json())));
}

double Study::test_accuracy(Net& net) const {
  data::DataLoader loader(*test_, {.batch_size = 200});
  return train::evaluate(net, loader).accuracy();
}

bool Study::prepare(data::DataLoader& loader, data::DataLoader& validation) {
  manual_seed(s_.seed);
  network_ = std::make_unique<Net>(s_.spec);
  const std::string done = record_->path("network.safetensors");
  const std::string file = s_.network.empty() ? done : s_.network;
  if (!s_.network.empty() || std::filesystem::exists(done)) {
    train::Checkpoint::load(file).take("model.", *network_);
    return true;
  }
  optim::FunctionSchedule<optim::CosineAnnealingLR> schedule(
      {.lr = s_.train_lr, .t_max = s_.train_epochs, .eta_min = s_.train_lr / 50});
  distill::Options options;
  options.sgd.lr = s_.train_lr;
  options.fit.stage = "network", options.fit.epochs = s_.train_epochs, options.fit.schedule = &schedule;
  options.fit.stop = &stop_, options.fit.progress = &progress_;
  if (distill::fit(*network_, loader, validation, options).interrupted) return false;
  train::Checkpoint c;
  c.put("model.", *network_);
  c.save(done);
  return true;
}

train::Json Study::cell(const Heuristics& h, data::DataLoader& loader, data::DataLoader& validation) {
  manual_seed(s_.seed);  // each cell by itself, so that it does not matter which ran before
  Net net(s_.spec);
  nn::copy_state(*network_, net);
  manual_seed(s_.seed + 1);
  distill::DifferentiableQuantization options;
  options.points.bits = h.bits;
  options.points.start = h.quantiles ? quant::PointStart::quantiles : quant::PointStart::uniform;
  options.redistribution = h.redistribute ? quant::Redistribution::authors : quant::Redistribution::none;
  options.distillation = h.distillation;
  options.training.loss = s_.loss, options.training.sgd.lr = s_.lr;
  auto& fit = options.training.fit;
  fit.stage = text(h.bits, " bits, ", h.redistribute ? "redistributed" : "equal counts", ", ",
                   h.quantiles ? "quantiles" : "uniform", ", ", h.distillation ? "distillation" : "normal loss");
  fit.epochs = s_.epochs, fit.stop = &stop_, fit.progress = &progress_;
  const auto result = distill::differentiable_quantization(net, nullptr, loader, validation, options);
  if (result.interrupted) return {};
  train::Json event = {{"event", "cell"}};
  event.update(h.json());
  event["accuracy"] = test_accuracy(net);
  const auto packed = quant::pack(net, {3, 32, 32});
  const auto bytes = static_cast<Index>(io::to_packed(packed, {.huffman = true}).size());
  event["bytes"] = bytes;
  event["bits_per_weight"] = 8.0 * static_cast<double>(bytes) / static_cast<double>(net.parameter_count());
  event["layers"] = train::Json::array();
  Index points = 0, used = 0;
  for (const auto& [name, p] : net.named_parameters()) {
    const PointUsage u = point_usage(std::get<TableEncoding>(p->encode().data));
    points += u.points, used += u.used;
    event["layers"].push_back({{"name", name},
                               {"weights", u.weights},
                               {"points", u.points},
                               {"used", u.used},
                               {"weights_per_point", u.weights_per_point()},
                               {"largest", u.largest}});
  }
  event["points"] = points, event["used"] = used, event["seconds"] = result.seconds;
  return event;
}

bool Study::run() {
  const data::Augment augment = !s_.augment       ? data::Augment{}
                                : s_.data.empty() ? data::digits_augment
                                                  : data::cifar_augment;
  data::DataLoader loader(*train_,
                          {.batch_size = s_.batch, .shuffle = true, .drop_last = true, .augment = augment, .seed = 7});
  data::DataLoader validation(*validation_, {.batch_size = 200});
  if (!prepare(loader, validation)) return false;
  for (const int bits : s_.bits) {
    for (const bool redistribute : {true, false}) {
      for (const bool quantiles : {true, false}) {
        for (const bool distillation : {true, false}) {
          const Heuristics h{bits, redistribute, quantiles, distillation};
          const train::Json choice = h.json();
          const auto finished = [&](const train::Json& c) {
            for (const auto& item : choice.items())
              if (c.at(item.key()) != item.value()) return false;
            return true;
          };
          if (std::any_of(cells_.begin(), cells_.end(), finished)) continue;
          train::Json done = cell(h, loader, validation);
          if (done.is_null()) return false;
          record_->log().write(done);
          record_->log().sync();
          cells_.push_back(std::move(done));
        }
      }
    }
  }
  write_results();
  return true;
}

void Study::write_results() {
  const double unquantized = test_accuracy(*network_);
  record_->write_result({{"settings", s_.json()}, {"unquantized_accuracy", unquantized}, {"cells", cells_}});
  record_->write_text("table.md", accuracy_table(cells_).markdown());
  record_->write_text("table.csv", cells_table(cells_).csv());
  const train::Json manifest = train::parse_json(train::detail::file_text(record_->path("manifest.json")), "manifest");
  record_->write_text("report.html", report_html(cells_, manifest, unquantized));
  std::printf("\nTest accuracy in %%; unquantized %s.\n\n%s\nreport: %s\n", train::fixed(100 * unquantized, 2).c_str(),
              accuracy_table(cells_).text().c_str(), record_->path("report.html").c_str());
  std::fflush(stdout);
}

}  // namespace dq_heuristics
