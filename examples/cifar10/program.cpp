#include "program.hpp"

#include <cstdio>
#include <filesystem>

#include "../common/build_info.hpp"
#include "../common/images.hpp"
#include "qdistill/encoding/paper_size.hpp"
#include "qdistill/optim/schedule_polino.hpp"
#include "qdistill/quant/pack.hpp"
#include "qdistill/runtime/model.hpp"
#include "qdistill/train/manifest.hpp"
#include "qdistill/train/state_file.hpp"

namespace cifar10 {

namespace {

/// A number for each stage's own random streams, so that a stage does not depend on the ones before it.
std::uint64_t stage_seed(std::uint64_t seed, const std::string& name) {
  std::uint64_t h = 1469598103934665603ull;  // FNV-1a
  for (const char c : name) h = (h ^ static_cast<unsigned char>(c)) * 1099511628211ull;
  const PhiloxBlock b = philox(seed, h, 0);
  return std::uint64_t{b[0]} << 32 | b[1];
}

/// "student distilled 4 bits" as a file name: "student-distilled-4-bits".
std::string slug(const std::string& name) {
  std::string out;
  for (const char c : name) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (plain) out += c;
    else if (!out.empty() && out.back() != '-') out += '-';
  }
  while (!out.empty() && out.back() == '-') out.pop_back();
  return out;
}

const std::vector<Index>& image_shape() {
  static const std::vector<Index> shape{3, 32, 32};
  return shape;
}

}  // namespace

data::Subset test_part(const Settings& s, const data::ImageSet& test) {
  return data::balanced_subset(test, s.test_images > 0 && s.test_images < test.size() ? s.test_images : test.size(), 1);
}

Program::Program(Settings settings, std::string folder, bool resume, std::vector<std::string> arguments,
                 train::ProgressSink& progress, const std::atomic<bool>& stop)
    : s_(std::move(settings)), arguments_(std::move(arguments)), progress_(progress), stop_(stop) {
  examples::load_images(s_.data, s_.generated, train_set_, test_set_);
  const Index wanted = s_.train_images > 0 && s_.train_images < train_set_.size() ? s_.train_images : train_set_.size();
  const data::Subset chosen = data::balanced_subset(train_set_, wanted, s_.seed);
  const Index held = s_.validation_images > 0 ? s_.validation_images : wanted / 10;
  auto parts = data::split_validation(chosen, held, s_.seed);
  train_ = std::make_unique<data::Subset>(std::move(parts.train));
  validation_ = std::make_unique<data::Subset>(std::move(parts.validation));
  test_ = std::make_unique<data::Subset>(test_part(s_, test_set_));
  if (s_.test_schedule) validation_ = std::make_unique<data::Subset>(*test_);

  std::uint64_t log_bytes = 0;
  if (resume) {
    const train::Json before = train::parse_json(train::detail::file_text(folder + "/manifest.json"), folder);
    check(before.at("settings") == s_.json(), "cifar10", folder,
          " was run with other settings: ", train::json_line(before.at("settings")), ". HINT: give the same options");
    // The log ends where the newest of the stages' files and the checkpoint say.
    for (const auto& entry : std::filesystem::directory_iterator(folder + "/state")) {
      if (entry.path().extension() != ".safetensors") continue;
      const auto c = train::Checkpoint::load(entry.path().string());
      log_bytes = std::max(log_bytes, c.numbers.at("log_bytes").get<std::uint64_t>());
    }
  }
  record_ = std::make_unique<train::RunRecord>(resume ? train::RunRecord::resume(folder, log_bytes)
                                                      : train::RunRecord::create(folder));
  std::filesystem::create_directories(folder + "/state");
  record_->write_manifest(train::manifest({.arguments = arguments_,
                                           .commit = QDISTILL_EXAMPLE_COMMIT,
                                           .flags = QDISTILL_EXAMPLE_FLAGS,
                                           .seed = s_.seed,
                                           .data = train_set_.name,
                                           .data_checksum = text("philox:", data::checksum(train_set_)),
                                           .settings = s_.json()}));
}

std::unique_ptr<Program::Net> Program::stage(const std::string& name, const models::PolinoSpec& spec,
                                             const Budget& budget, Net* teacher, const Net* start,
                                             const quant::Uniform* quantizer, double& seconds) {
  const std::string done = record_->path("state/" + slug(name) + ".safetensors");
  const std::string checkpoint = record_->path("state/checkpoint.safetensors");
  const std::uint64_t seed = stage_seed(s_.seed, name);
  manual_seed(seed);
  auto net = std::make_unique<Net>(spec);
  if (start) nn::copy_state(*start, *net);
  if (quantizer) quant::attach(*net, *quantizer, quant::all_parameters());

  train::FitResult result;
  std::error_code error;
  if (std::filesystem::exists(done, error)) {
    const auto c = train::Checkpoint::load(done);
    c.take("model.", *net);
    for (const auto& e : c.numbers.at("history")) result.history.push_back(train::detail::epoch_from_json(e));
    result.seconds = c.numbers.at("seconds").get<double>();
  } else {
    std::unique_ptr<train::Checkpoint> resume;
    if (std::filesystem::exists(checkpoint, error)) {
      auto c = train::Checkpoint::load(checkpoint);
      if (c.numbers.at("stage") == name) resume = std::make_unique<train::Checkpoint>(std::move(c));
    }
    data::DataLoader loader(*train_, {.batch_size = s_.batch,
                                      .shuffle = true,
                                      .drop_last = true,
                                      .augment = !s_.augment       ? data::Augment{}
                                                 : s_.data.empty() ? data::digits_augment
                                                                   : data::cifar_augment,
                                      .seed = seed});
    data::DataLoader validation(*validation_, {.batch_size = 200});
    std::unique_ptr<optim::Schedule> schedule;
    if (s_.cosine)
      schedule = std::make_unique<optim::FunctionSchedule<optim::CosineAnnealingLR>>(
          optim::CosineAnnealingLR{.lr = budget.lr, .t_max = budget.epochs, .eta_min = budget.lr / 50});
    else schedule = std::make_unique<optim::PolinoHalving>(optim::PolinoHalvingOptions{.lr = budget.lr});
    distill::Options options;
    options.loss = s_.loss;
    options.sgd = {.lr = budget.lr, .momentum = s_.momentum, .weight_decay = s_.weight_decay, .nesterov = true};
    options.cache_teacher = s_.cache_teacher && teacher;
    options.fit.stage = name, options.fit.epochs = budget.epochs, options.fit.schedule = schedule.get();
    options.fit.checkpoint = checkpoint, options.fit.resume = resume.get();
    options.fit.stop = &stop_, options.fit.progress = &progress_, options.fit.log = &record_->log();
    std::vector<nn::Module<float>*> teachers;
    if (teacher) teachers.push_back(teacher);
    result = distill::fit(*net, teachers, loader, validation, options);
    if (result.interrupted) throw Interrupted{};
    train::Checkpoint c;
    c.put("model.", *net);
    train::Json history = train::Json::array();
    for (const auto& e : result.history) history.push_back(train::detail::to_json(e));
    c.numbers = {
        {"stage", name}, {"history", history}, {"seconds", result.seconds}, {"log_bytes", record_->log().sync()}};
    c.save(done);
  }
  seconds = result.seconds;
  curves_.emplace_back(name, std::move(result));
  net->eval();
  return net;
}

void Program::add_row(Net& net, Row row) {
  data::DataLoader loader(*test_, {.batch_size = 200});
  row.accuracy = train::evaluate(net, loader).accuracy();
  row.file = slug(row.name) + ".safetensors";
  const auto packed = quant::pack(net, image_shape(), {{"name", row.name}});
  const std::string path = record_->path(row.file);
  row.bytes_plain = io::save_packed(path, packed, {.huffman = false}).total();
  row.bytes_huffman = io::save_packed(path, packed, {.huffman = true}).total();
  PaperSize size;
  for (const auto& [name, encoding] : packed.tensors)
    if (name.find("running_") == std::string::npos) size.add(encoding);
  row.paper_mb = size.huffman_mb();
  row.bits_per_weight = 8.0 * static_cast<double>(row.bytes_huffman) / static_cast<double>(net.parameter_count());
  const double teacher =
      rows_.empty() ? static_cast<double>(row.bytes_plain) : static_cast<double>(rows_[0].bytes_plain);
  row.ratio = teacher / static_cast<double>(row.bytes_huffman);
  progress_.message(text(row.name, ": ", train::fixed(100 * row.accuracy, 2), " %, ", row.bytes_huffman, " bytes"));
  rows_.push_back(std::move(row));
}

void Program::evaluate_post_mortem(Net& student) {
  for (const int bits : s_.bits) {
    for (const Index bucket : {Index{256}, Index{0}}) {
      quant::attach(student, quant::Uniform{.bits = bits, .bucket_size = bucket});
      const std::string how = bucket ? text("bucket ", bucket) : std::string("no buckets");
      Row row;
      row.name = text("PM ", bits, " bits, ", how), row.kind = "PM, " + how;
      add_row(student, row);
    }
  }
  quant::detach(student);
}

void Program::run() {
  std::printf("qdistill: the main job, preset %s: %s.\n", s_.preset.c_str(), s_.about.c_str());
  if (s_.data.empty())
    std::printf("Data: generated digits, %lld training and %lld test images (no file needed; --data takes CIFAR-10).\n",
                static_cast<long long>(train_set_.size()), static_cast<long long>(test_set_.size()));
  const auto budget = [](const char* what, const Budget& b) { return text(what, ' ', b.epochs, " epochs at ", b.lr); };
  const std::string settings =
      text("Training on ", train_->size(), " images, validation on ", validation_->size(), ", test on ", test_->size(),
           ". Learning rates, batch and epochs are this preset's own:\n  ", budget("teacher", s_.teacher_budget), ", ",
           budget("student on labels", s_.label_budget), ", ", budget("distilled", s_.student_budget), ", ",
           budget("quantized", s_.quantized_budget), "; batch ", s_.batch, ", ",
           s_.cosine ? "cosine schedule" : "the paper's schedule", ".\n");
  std::fputs(settings.c_str(), stdout);
  if (s_.test_schedule)
    std::printf("The schedule and the best model look at the TEST set, as the published runs did.\n");
  std::fflush(stdout);

  double seconds = 0;
  const auto teacher = stage("teacher", s_.teacher, s_.teacher_budget, nullptr, nullptr, nullptr, seconds);
  add_row(*teacher, {.name = "teacher", .kind = "full precision", .seconds = seconds});
  const auto labelled = stage("student, labels", s_.student, s_.label_budget, nullptr, nullptr, nullptr, seconds);
  add_row(*labelled, {.name = "student, labels", .kind = "full precision", .seconds = seconds});
  const models::PolinoSpec plain = models::without_dropout(s_.student);
  const auto distilled =
      stage("student, distilled", plain, s_.student_budget, teacher.get(), nullptr, nullptr, seconds);
  add_row(*distilled, {.name = "student, distilled", .kind = "full precision", .seconds = seconds});
  evaluate_post_mortem(*distilled);
  for (const int bits : s_.bits_from_labels) {
    const quant::Uniform uniform{.bits = bits};
    const std::string name = text("quantized, labels ", bits, " bits");
    const auto net = stage(name, s_.student, s_.quantized_budget, nullptr,
                           s_.start_from_trained ? labelled.get() : nullptr, &uniform, seconds);
    add_row(*net, {.name = name, .kind = "quantized, labels", .seconds = seconds});
  }
  for (const int bits : s_.bits) {
    const quant::Uniform uniform{.bits = bits};
    const std::string name = text("QD ", bits, " bits");
    const auto net = stage(name, plain, s_.quantized_budget, teacher.get(),
                           s_.start_from_trained ? distilled.get() : nullptr, &uniform, seconds);
    add_row(*net, {.name = name, .kind = "QD", .seconds = seconds});
  }
  write_results();
}

void Program::write_results() {
  train::Json result = {{"settings", s_.json()}, {"rows", train::Json::array()}};
  for (const Row& r : rows_) {
    result["rows"].push_back({{"name", r.name},
                              {"kind", r.kind},
                              {"file", r.file},
                              {"accuracy", r.accuracy},
                              {"bytes_plain", r.bytes_plain},
                              {"bytes_huffman", r.bytes_huffman},
                              {"bits_per_weight", r.bits_per_weight},
                              {"ratio", r.ratio},
                              {"paper_mb", r.paper_mb},
                              {"seconds", r.seconds}});
  }
  record_->write_result(result);
  const train::Json manifest = train::parse_json(train::detail::file_text(record_->path("manifest.json")), "manifest");
  record_->write_text("report.html", report_html(s_, rows_, curves_, manifest));
  record_->write_text("table.md", results_table(rows_).markdown());
  record_->write_text("table.csv", results_table(rows_).csv());
  std::printf("\n%s\nreport: %s\n", results_table(rows_).text().c_str(), record_->path("report.html").c_str());
  std::fflush(stdout);
}

int Program::verify(const std::string& folder) {
  const train::Json result = train::parse_json(train::detail::file_text(folder + "/result.json"), folder);
  const train::Json& settings = result.at("settings");
  Settings s = preset(settings.at("preset").get<std::string>(), !settings.at("data").get<std::string>().empty());
  s.data = settings.at("data").get<std::string>();
  s.test_images = settings.at("test_images").get<Index>();
  s.generated.train = 10, s.generated.test = settings.at("generated").at("test").get<Index>();
  data::ImageSet train, test;
  examples::load_images(s.data, s.generated, train, test);
  const data::Subset part = test_part(s, test);
  int different = 0;
  for (const auto& row : result.at("rows")) {
    const runtime::Model model = runtime::load(folder + '/' + row.at("file").get<std::string>());
    data::DataLoader loader(part, {.batch_size = 200});
    const auto t = train::tally(model, loader);
    const double before = row.at("accuracy").get<double>();
    const bool equal = t.accuracy() == before;
    different += !equal;
    std::printf("%-28s %8.4f %% from the packed file, %8.4f %% in the run: %s\n",
                row.at("name").get<std::string>().c_str(), 100 * t.accuracy(), 100 * before,
                equal ? "equal" : "DIFFERENT");
  }
  return different;
}

}  // namespace cifar10
