#include "common/config/document.h"

#include <algorithm>
#include <exception>
#include <sstream>
#include <utility>

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "common/config/lexical_check.h"

namespace ashlar::config {
namespace {

// Builds the tree from yaml-cpp's events. Repeated keys are found here; the rest is the schema's.
class TreeBuilder : public YAML::EventHandler {
 public:
  TreeBuilder(FaultList& faults, Value* root) : faults_(faults), root_(root) {}

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}

  // A missing value's mark is that of the next token; its key's or list's place helps more.
  void OnNull(const YAML::Mark& mark, YAML::anchor_t) override {
    Value value{.span = SpanOf(mark)};
    if (!open_.empty() && !IsWrittenNull(value.span)) {
      value.span = open_.back().expects_value ? open_.back().key_span : open_.back().value.span;
    }
    Attach(std::move(value));
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override { Attach({.span = SpanOf(mark), .reported = true}); }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t, const std::string& text) override {
    const bool quoted = tag == "!";  // yaml-cpp's own word for a scalar that is not plain
    Value value{.kind = Value::Kind::kScalar, .span = SpanOf(mark), .quoted = quoted, .scalar = text};
    value.span.width = ScalarWidth(value);
    Attach(std::move(value));
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t, YAML::EmitterStyle::value) override {
    Open(Value::Kind::kSequence, mark);
  }
  void OnSequenceEnd() override { Close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t, YAML::EmitterStyle::value) override {
    Open(Value::Kind::kMapping, mark);
  }
  void OnMapEnd() override { Close(); }

 private:
  // A sequence or mapping whose end has not come.
  struct OpenNode {
    Value value;
    bool expects_value = false;  // mapping: a key was read
    bool drop_value = false;     // … but the key was refused
    std::string key;
    Span key_span;
    absl::flat_hash_map<std::string, Span> seen;
  };

  static Span SpanOf(const YAML::Mark& mark) { return {mark.line, mark.column, 1}; }

  bool IsWrittenNull(Span span) const {
    const std::string_view line = faults_.Line(span.line);
    const auto column = static_cast<std::size_t>(std::max(0, span.column));
    if (column >= line.size()) return false;
    const std::string_view rest = line.substr(column);
    // "*": an alias, which the lexical check turned into a null.
    return rest.starts_with("*") || rest.starts_with("~") || rest.starts_with("null") || rest.starts_with("Null") ||
           rest.starts_with("NULL");
  }

  // "nodes[2].log" of what is being read inside the innermost open node.
  std::string Path() const {
    std::string path;
    for (const OpenNode& node : open_) {
      if (node.value.kind == Value::Kind::kSequence) {
        absl::StrAppend(&path, "[", node.value.items.size(), "]");
      } else if (&node != &open_.back()) {
        absl::StrAppend(&path, path.empty() ? "" : ".", Excerpt(node.key));
      }
    }
    return path;
  }

  void Open(Value::Kind kind, const YAML::Mark& mark) {
    if (too_deep_ > 0 || open_.size() >= static_cast<std::size_t>(kMaxDepth)) {
      if (too_deep_++ == 0) faults_.Add(SpanOf(mark), "", absl::StrCat("nested deeper than ", kMaxDepth));
      return;
    }
    OpenNode node;
    node.value = {.kind = kind, .span = SpanOf(mark)};
    open_.push_back(std::move(node));
  }

  void Close() {
    if (too_deep_ > 0) {
      if (--too_deep_ == 0) Attach({.reported = true});
      return;
    }
    Value value = std::move(open_.back().value);
    open_.pop_back();
    Attach(std::move(value));
  }

  void Attach(Value value) {
    if (too_deep_ > 0) return;
    if (open_.empty()) {
      *root_ = std::move(value);
    } else if (OpenNode& parent = open_.back(); parent.value.kind == Value::Kind::kSequence) {
      parent.value.items.push_back(std::move(value));
    } else if (!parent.expects_value) {
      TakeKey(parent, value);
    } else {
      parent.expects_value = false;
      if (parent.drop_value) return;
      parent.value.entries.push_back({std::exchange(parent.key, {}), parent.key_span, std::move(value)});
    }
  }

  void TakeKey(OpenNode& mapping, const Value& key) {
    mapping.expects_value = true;
    mapping.drop_value = true;
    mapping.key_span = key.span;
    if (key.kind != Value::Kind::kScalar) {
      if (!key.reported) faults_.Add(key.span, Path(), "a key must be a word", "write \"key: value\"");
      return;
    }
    const auto [first, is_new] = mapping.seen.try_emplace(key.scalar, key.span);
    if (!is_new) {
      const Place place = faults_.PlaceOf(first->second);
      const std::string path = Path();
      faults_.Add(key.span, absl::StrCat(path, path.empty() ? "" : ".", Excerpt(key.scalar)),
                  absl::StrCat("repeated key; it stands first at line ", place.line, ", column ", place.column),
                  "keep one of them");
      return;
    }
    mapping.drop_value = false;
    mapping.key = key.scalar;
  }

  // How many bytes of the line to underline. 1 where the source looks different from the value.
  int ScalarWidth(const Value& value) const {
    const std::string_view line = faults_.Line(value.span.line);
    const auto column = static_cast<std::size_t>(std::max(0, value.span.column));
    if (column >= line.size()) return 1;
    const std::string_view rest = line.substr(column);
    if (!value.quoted) return rest.starts_with(value.scalar) ? static_cast<int>(value.scalar.size()) : 1;
    for (std::size_t i = 1; i < rest.size(); ++i) {
      if (rest[i] == '\\' && rest[0] == '"') {
        ++i;
      } else if (rest[i] == rest[0]) {
        return static_cast<int>(i + 1);
      }
    }
    return 1;
  }

  FaultList& faults_;
  Value* root_;
  std::vector<OpenNode> open_;
  int too_deep_ = 0;  // sequences and mappings open below the deepest that we keep
};

// yaml-cpp's words, and what usually is behind them.
std::string_view SyntaxHint(std::string_view message) {
  if (message == "illegal map value") return "a value that holds \": \" needs double quotes; or is the indentation off?";
  if (message.starts_with("end of map not found")) return "is the indentation off?";
  if (message.starts_with("end of sequence not found")) return "is the indentation off?";
  return "";
}

}  // namespace

bool ParseDocument(std::string_view text, FaultList& faults, Value* root) {
  LexicalResult lexical = CheckLexically(text, faults);
  if (!lexical.readable) return false;
  try {
    std::istringstream stream(std::move(lexical.cleaned));
    YAML::Parser parser(stream);
    TreeBuilder builder(faults, root);
    if (!parser.HandleNextDocument(builder)) {
      *root = Value{};  // nothing but comments: the schema says what is missing
      return true;
    }
    FaultList ignored(text, "");
    Value rest;
    TreeBuilder rest_builder(ignored, &rest);
    if (parser.HandleNextDocument(rest_builder)) {
      faults.Add(rest.span, "", "text after the end of the document", "is the indentation off?");
      return false;
    }
    return true;
  } catch (const YAML::Exception& error) {
    const Span span = error.mark.is_null() ? Span{} : Span{error.mark.line, error.mark.column, 1};
    const std::string_view hint = SyntaxHint(error.msg);
    faults.Add(span, "", absl::StrCat("YAML syntax: ", Excerpt(error.msg)), std::string(hint));
  } catch (const std::exception& error) {
    faults.AddForFile(absl::StrCat("cannot be read as YAML: ", Excerpt(error.what())));
  }
  return false;
}

}  // namespace ashlar::config
