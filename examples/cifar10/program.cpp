#include "program.hpp"

#include <cstdio>
#include <filesystem>

#include "../common/images.hpp"
#include "../common/run.hpp"
#include "qdistill/distill/layer_report.hpp"
#include "qdistill/encoding/paper_size.hpp"
#include "qdistill/nn/summary.hpp"
#include "qdistill/optim/schedule_polino.hpp"
#include "qdistill/quant/attach.hpp"
#include "qdistill/quant/pack.hpp"
#include "qdistill/quant/uniform.hpp"
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

/// The images on which a run reports its accuracy.
data::Subset test_part(const Settings& s, const data::ImageSet& test) {
  return data::balanced_subset(test, s.test_images > 0 && s.test_images < test.size() ? s.test_images : test.size(), 1);
}

train::Json history_json(const train::FitResult& result) {
  train::Json out = train::Json::array();
  for (const auto& e : result.history) out.push_back(train::detail::to_json(e));
  return out;
}

train::FitResult fit_result(const train::Checkpoint& done) {
  train::FitResult result;
  for (const auto& e : done.numbers.at("history")) result.history.push_back(train::detail::epoch_from_json(e));
  result.seconds = done.numbers.at("seconds").get<double>();
  return result;
}

/// What the stages depend on: a run may be resumed with other methods, which then come from its students.
train::Json stage_settings(train::Json settings) {
  for (const char* const free : {"methods", "bits"}) settings.erase(free);
  return settings;
}

bool exists(const std::string& path) {
  std::error_code error;
  return std::filesystem::exists(path, error);
}

}  // namespace

/// What every stage's training is made of besides its networks.
struct Program::Training {
  Training(Program& program, const std::string& name, const Budget& budget, double rate = 1)
      : seed(stage_seed(program.s_.seed, name)),
        loader(*program.train_, {.batch_size = program.s_.batch,
                                 .shuffle = true,
                                 .drop_last = true,
                                 .augment = !program.s_.augment       ? data::Augment{}
                                            : program.s_.data.empty() ? data::digits_augment
                                                                      : data::cifar_augment,
                                 .seed = seed}),
        validation(*program.validation_, {.batch_size = 200}) {
    const Settings& s = program.s_;
    const double lr = rate * budget.lr;
    if (s.cosine)
      schedule = std::make_unique<optim::FunctionSchedule<optim::CosineAnnealingLR>>(
          optim::CosineAnnealingLR{.lr = lr, .t_max = budget.epochs, .eta_min = lr / 50});
    else schedule = std::make_unique<optim::PolinoHalving>(optim::PolinoHalvingOptions{.lr = lr});
    checkpoint = program.state_file("checkpoint-" + slug(name));
    if (exists(checkpoint)) resume = std::make_unique<train::Checkpoint>(train::Checkpoint::load(checkpoint));
    options.loss = s.loss;
    options.sgd = {.lr = lr, .momentum = s.momentum, .weight_decay = s.weight_decay, .nesterov = true};
    options.fit = {.stage = name,
                   .epochs = budget.epochs,
                   .schedule = schedule.get(),
                   .checkpoint = checkpoint,
                   .resume = resume.get(),
                   .stop = &program.stop_,
                   .progress = &program.progress_,
                   .log = &program.record_->log()};
  }
  /// Writes the stage's file, after which its checkpoint is of no use.
  void finish(const std::string& file, train::Checkpoint done, const train::FitResult& result, train::EventLog& log) {
    done.numbers["history"] = history_json(result), done.numbers["seconds"] = result.seconds;
    done.numbers["log_bytes"] = log.sync();
    done.save(file);
    std::error_code error;
    std::filesystem::remove(checkpoint, error);
  }

  std::uint64_t seed;
  data::DataLoader loader, validation;
  std::unique_ptr<optim::Schedule> schedule;
  std::string checkpoint;
  std::unique_ptr<train::Checkpoint> resume;
  distill::Options options;
};

Program::Program(Settings settings, std::string folder, bool resume, std::vector<std::string> arguments,
                 train::ProgressSink& progress, const std::atomic<bool>& stop, const std::string& teacher_folder)
    : s_(std::move(settings)), progress_(progress), stop_(stop) {
  for (const std::string& m : s_.methods) method(m);
  for (const int bits : s_.bits) check(bits >= 1 && bits <= 16, "cifar10", "got ", bits, " bits, expected 1 to 16");
  network(s_.teacher), network(s_.student, s_.activation_bits);
  examples::load_images(s_.data, s_.generated, train_set_, test_set_);
  const Index wanted = s_.train_images > 0 && s_.train_images < train_set_.size() ? s_.train_images : train_set_.size();
  const data::Subset chosen = data::balanced_subset(train_set_, wanted, s_.seed);
  test_ = std::make_unique<data::Subset>(test_part(s_, test_set_));
  if (s_.test_schedule) {
    train_ = std::make_unique<data::Subset>(chosen);
    validation_ = std::make_unique<data::Subset>(*test_);
  } else {
    auto parts = data::split_validation(chosen, s_.validation_images > 0 ? s_.validation_images : wanted / 10, s_.seed);
    train_ = std::make_unique<data::Subset>(std::move(parts.train));
    validation_ = std::make_unique<data::Subset>(std::move(parts.validation));
  }
  if (s_.as_published(s_.student)) all_ = quant::not_first_last();

  std::uint64_t log_bytes = 0;
  if (resume) {
    const train::Json before = train::parse_json(train::detail::file_text(folder + "/manifest.json"), folder);
    check(stage_settings(before.at("settings")) == stage_settings(s_.json()), "cifar10", folder,
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
  std::filesystem::create_directories(folder + "/layers");
  teacher_file_ = teacher_folder.empty() ? state_file("teacher") : teacher_folder + "/teacher.safetensors";
  record_->write_manifest(train::manifest(examples::run_info(
      std::move(arguments), s_.seed, train_set_.name,
      text("training set ", data::checksum(train_set_), ", test set ", data::checksum(test_set_)), s_.json())));
}

std::unique_ptr<Net> Program::trained(const std::string& name, const Network& network, bool dropout,
                                      const Budget& budget, Net* teacher, double& seconds) {
  const std::string file = name == "teacher" ? teacher_file_ : state_file(slug(name));
  manual_seed(stage_seed(s_.seed, name));
  auto net = network.make(dropout);
  train::FitResult result;
  if (exists(file)) {
    const auto done = train::Checkpoint::load(file);
    done.take("model.", *net);
    result = fit_result(done);
  } else {
    Training training(*this, name, budget);
    training.options.cache_teacher = s_.cache_teacher && teacher;
    std::vector<Net*> teachers;
    if (teacher) teachers.push_back(teacher);
    result = distill::fit(*net, teachers, training.loader, training.validation, training.options);
    if (result.interrupted) throw Interrupted{};
    train::Checkpoint done;
    done.put("model.", *net);
    training.finish(file, std::move(done), result, record_->log());
  }
  seconds = result.seconds;
  curves_.emplace_back(name, std::move(result));
  net->eval();
  return net;
}

void Program::compressed(const Method& method, int bits, Net* teacher, Net& original) {
  const std::string name = method.bits.most ? text(method.label, ' ', bits, " bits") : method.label;
  const std::string file = state_file(slug(name));
  if (exists(file)) {
    const auto done = train::Checkpoint::load(file);
    curves_.emplace_back(name, fit_result(done));
    return add(Row::from(done.numbers.at("row")));
  }
  manual_seed(stage_seed(s_.seed, name));
  const auto net = network(s_.student, s_.activation_bits).make(method.from_labels || s_.as_published(s_.student));
  if (s_.start_from_trained || method.needs_trained) nn::copy_state(original, *net);
  Training training(*this, name, s_.quantized_budget, method.rate);
  Compression c{*net, teacher, original, bits, s_.lambda, all_, training.loader, training.validation, training.options};
  c.options.cache_teacher = s_.cache_teacher && teacher;
  train::FitResult result = method.train(c);
  if (result.interrupted) throw Interrupted{};
  net->eval();
  Row row = evaluated(*net, {.name = name, .kind = method.label, .seconds = result.seconds});
  describe_layers(*net, method.keeps_weights ? nullptr : &original, method.shows_layers, row);
  train::Checkpoint done;
  done.numbers["row"] = row.json();
  training.finish(file, std::move(done), result, record_->log());
  curves_.emplace_back(name, std::move(result));
  add(std::move(row));
}

void Program::post_mortem(int bits, Net& student) {
  for (const Index bucket : {Index{256}, Index{0}}) {
    quant::attach(student, quant::Uniform{.bits = bits, .bucket_size = bucket}, all_);
    const std::string how = bucket ? text("bucket ", bucket) : std::string("no buckets");
    Row row = evaluated(student, {.name = text("PM ", bits, " bits, ", how), .kind = "PM, " + how});
    describe_layers(student, nullptr, false, row);
    add(std::move(row));
  }
  quant::detach(student);
}

Row Program::evaluated(Net& net, Row row) const {
  data::DataLoader loader(*test_, {.batch_size = 200});
  row.accuracy = train::evaluate(net, loader).accuracy();
  row.file = slug(row.name) + ".safetensors";
  const auto packed = quant::pack(net, image_shape(), {{"name", row.name}});
  const std::string path = record_->path(row.file);
  row.bytes_plain = static_cast<Index>(io::to_packed(packed, {.huffman = false}).size());
  row.ledger = io::save_packed(path, packed, {.huffman = true});
  PaperSize size;
  for (const auto& [name, encoding] : packed.tensors)
    if (name.find("running_") == std::string::npos) size.add(encoding);
  row.paper_mb = size.huffman_mb();
  row.bits_per_weight = 8.0 * static_cast<double>(row.bytes_huffman()) / static_cast<double>(net.parameter_count());
  const Index teacher = rows_.empty() ? row.bytes_plain : rows_[0].bytes_plain;
  row.ratio = static_cast<double>(teacher) / static_cast<double>(row.bytes_huffman());
  return row;
}

void Program::describe_layers(Net& net, const Net* original, bool show, Row& row) const {
  const auto reference = original ? nn::state_dict(*original) : std::vector<nn::StateEntry<float>>{};
  const auto table = quant::layer_table<float>(net, {.select = quant::weights_only(), .reference = reference});
  data::DataLoader loader(*validation_, {.batch_size = 200});
  const auto costs = distill::sensitivity(
      net, loader, {.select = quant::weights_only(), .images = 400, .reference = reference, .stop = &stop_});
  if (costs.interrupted) throw Interrupted{};
  const train::Table shown = distill::to_table(table, costs);
  record_->write_text("layers/" + slug(row.name) + ".csv", shown.csv());
  record_->write_text("layers/" + slug(row.name) + ".json", train::json_line(distill::to_json(table, costs)) + '\n');
  if (!show) return;
  row.layers = distill::bits_chart(table, row.name + ": bits per weight").text;
  std::printf("\n%s\n%s\n", row.name.c_str(), shown.text().c_str());
  std::fflush(stdout);
}

void Program::add(Row row) {
  progress_.message(text(row.name, ": ", train::fixed(100 * row.accuracy, 2), " %, ", row.bytes_huffman(), " bytes"));
  rows_.push_back(std::move(row));
}

void Program::announce() const {
  std::printf("qdistill: the main job, preset %s: %s. Teacher: %s, student: %s.\n", s_.preset.c_str(), s_.about.c_str(),
              s_.teacher.c_str(), s_.student.c_str());
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
    std::printf(
        "The schedule and the best model look at the TEST set, as the published runs did; in quantized training "
        "with the quantized weights, where the published code takes the full-precision ones.\n");
  std::printf("\nThe student:\n%s\n", nn::summary(*network(s_.student, s_.activation_bits).make(false)).c_str());
  std::fflush(stdout);
}

void Program::run() {
  announce();
  const Network student = network(s_.student, s_.activation_bits);
  double seconds = 0;
  const auto teacher = trained("teacher", network(s_.teacher), true, s_.teacher_budget, nullptr, seconds);
  add(evaluated(*teacher, {.name = "teacher", .kind = "full precision", .seconds = seconds}));
  const auto labelled = trained("student, labels", student, true, s_.label_budget, nullptr, seconds);
  add(evaluated(*labelled, {.name = "student, labels", .kind = "full precision", .seconds = seconds}));
  const auto distilled =
      trained("student, distilled", student, s_.as_published(s_.student), s_.student_budget, teacher.get(), seconds);
  add(evaluated(*distilled, {.name = "student, distilled", .kind = "full precision", .seconds = seconds}));
  for (const std::string& chosen : s_.methods) {
    const Method& m = method(chosen);
    Net& original = m.from_labels ? *labelled : *distilled;
    Net* const from = m.from_labels ? nullptr : teacher.get();
    for (const int bits : m.bits.most ? s_.bits : std::vector<int>{0}) {
      if (bits < m.bits.fewest || bits > m.bits.most) {
        progress_.message(text(m.label, ": ", bits, " bits left out, it takes ", m.bits.fewest, " to ", m.bits.most));
        continue;
      }
      if (m.train) compressed(m, bits, from, original);
      else post_mortem(bits, original);
    }
  }
  write_results();
}

void Program::keep_earlier_rows() {
  const std::string file = record_->path("result.json");
  if (!exists(file)) return;
  const train::Json before = train::parse_json(train::detail::file_text(file), file);
  for (const auto& json : before.at("rows")) {
    Row row = Row::from(json);
    bool known = false;
    for (const Row& r : rows_) known = known || r.name == row.name;
    if (!known) rows_.push_back(std::move(row));
  }
}

void Program::write_results() {
  keep_earlier_rows();
  train::Json result = {{"settings", s_.json()}, {"rows", train::Json::array()}};
  for (const Row& r : rows_) {
    result["rows"].push_back(r.json());
    result["rows"].back().erase("layers");  // a picture, which the page has
  }
  record_->write_result(result);
  const train::Json manifest = train::parse_json(train::detail::file_text(record_->path("manifest.json")), "manifest");
  record_->write_text("report.html", report_html(s_, rows_, curves_, manifest));
  record_->write_text("table.md", results_table(rows_).markdown());
  record_->write_text("table.csv", results_table(rows_).csv());
  record_->write_text("bytes.csv", ledger_table(rows_).csv());
  std::printf("\n%s\nbytes on disk by what they hold, Huffman-coded files:\n%s\nreport: %s\n",
              results_table(rows_).text().c_str(), ledger_table(rows_).text().c_str(),
              record_->path("report.html").c_str());
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
