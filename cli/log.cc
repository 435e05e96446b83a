// `ashlar log verify DIR`, `ashlar log inspect DIR`: what a storage node's log holds, without the node.
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cli/json.h"
#include "cli/verbs.h"
#include "common/base/status.h"
#include "common/config/exit_code.h"
#include "common/telemetry/log.h"
#include "daemons/snode/replica_log/file_device.h"
#include "daemons/snode/replica_log/offline.h"
#include "daemons/snode/replica_log/store.h"

namespace ashlar::cli {
namespace {

constexpr std::size_t kMaxBadLines = 1000;  // the rest is counted

Outcome Failed(const absl::Status& status) {
  int code = config::kExitData;
  if (absl::IsUnavailable(status)) code = config::kExitInUse;
  if (absl::IsNotFound(status) || absl::IsInvalidArgument(status)) code = config::kExitUnavailable;
  if (absl::IsPermissionDenied(status)) code = config::kExitDenied;
  return {.exit_code = code, .out = "", .err = absl::StrCat("ashlar: log: ", Printable(std::string(status.message())), "\n")};
}

std::string UuidText(const snode::disk::StoreUuid& uuid) {
  std::string text;
  for (std::size_t i = 0; i < uuid.size(); ++i) absl::StrAppendFormat(&text, "%02x%s", uuid[i], i == 3 || i == 5 || i == 7 || i == 9 ? "-" : "");
  return text;
}

const char* KindWord(snode::disk::EntryKind kind) {
  static constexpr const char* kWords[] = {"?", "page", "zero", "trim", "open", "end", "clone", "snapshot", "drop", "lost", "written"};
  return kind <= snode::disk::EntryKind::kWritten ? kWords[static_cast<int>(kind)] : "?";
}

std::string BadLine(const snode::BadEntry& bad) {
  const std::string verdict = bad.live ? "LOST here: only its home or another replica has it"
                              : bad.held_version != 0 ? absl::StrCat("superseded by version ", bad.held_version, ": no loss")
                                                      : "no longer needed: no loss";
  return absl::StrFormat("BAD seg %08x block %d: space 0x%x page 0x%x version %d (%s): crc %08x, got %08x: %s\n", bad.segment, bad.block,
                         bad.entry.space, bad.entry.page, bad.entry.version, KindWord(bad.entry.kind), bad.entry.crc, bad.got_crc, verdict);
}

Outcome RenderVerify(const snode::StoreReport& report, bool json) {
  std::uint64_t live_lost = report.lost_pages;
  for (const snode::BadEntry& bad : report.bad) live_lost += bad.live ? 1 : 0;
  Outcome outcome{.exit_code = report.loss() ? config::kExitData : config::kExitOk};
  if (json) {
    Json damage = Json::Array();
    for (const std::string& words : report.damage) damage.Add(words);
    outcome.out = Json::Object()
                      .Set("schema", "ashlar.log-verify/1")
                      .Set("store", UuidText(report.superblock.store_uuid))
                      .Set("segments", report.superblock.segment_count)
                      .Set("sealed", report.sealed)
                      .Set("unsealed", report.unsealed)
                      .Set("free", report.free)
                      .Set("batches", report.batches)
                      .Set("pages", report.pages)
                      .Set("live_pages", report.live_pages)
                      .Set("spaces", report.spaces)
                      .Set("highest_batch_seq", report.highest_seq)
                      .Set("bad_pages", report.bad.size())
                      .Set("lost_pages", live_lost)
                      .Set("damage", damage)
                      .ToString();
    return outcome;
  }
  outcome.out = absl::StrFormat("store %s  format %d  cluster %s  %d segments: %d sealed, %d unsealed, %d free, %d retired\n", UuidText(report.superblock.store_uuid),
                                snode::disk::kFormat, Printable(report.superblock.cluster), report.superblock.segment_count, report.sealed,
                                report.unsealed, report.free, report.superblock.retired.size());
  absl::StrAppend(&outcome.out, "batches ", report.batches, "  pages ", report.pages, "  live ", report.live_pages, "  spaces ", report.spaces,
                  "  highest batch_seq ", report.highest_seq, "\n");
  for (std::size_t i = 0; i < report.bad.size() && i < kMaxBadLines; ++i) absl::StrAppend(&outcome.out, BadLine(report.bad[i]));
  for (const std::string& words : report.damage) absl::StrAppend(&outcome.out, "DAMAGE ", words, "\n");
  absl::StrAppend(&outcome.out, report.bad.size(), " bad entries, ", live_lost, " live pages lost\n");
  return outcome;
}

std::string BatchLines(const snode::disk::DecodedHeader& batch, std::span<const std::byte> data, bool entries) {
  const snode::disk::BatchHeader& header = batch.header;
  std::string lines = absl::StrFormat("seg %08x block %5d gen %d batch %d resumes %d durable_upto %d crc %08x prev %08x entries %d%s\n", header.segment,
                                      header.block, header.generation, header.batch_seq, header.resumes, header.durable_upto, header.header_crc,
                                      header.prev_header_crc, header.entry_count, snode::disk::FindBadEntry(batch, data) ? " BAD" : "");
  if (!entries) return lines;
  for (const snode::disk::Entry& entry : batch.entries)
    absl::StrAppendFormat(&lines, "  %-8s space 0x%x page 0x%x version %d era %d epoch %d count %d block %d crc %08x\n", KindWord(entry.kind), entry.space,
                          entry.page, entry.version, entry.era, entry.epoch, entry.count, entry.block, entry.crc);
  return lines;
}

absl::StatusOr<std::string> Inspect(const Options& options) {
  ASHLAR_ASSIGN_OR_RETURN(auto device, snode::FileDevice::OpenReadOnly(options.target));
  ASHLAR_ASSIGN_OR_RETURN(const snode::Superblock superblock, snode::ReadStore(*device));
  const auto blocks = static_cast<std::uint32_t>(superblock.segment_bytes / snode::disk::kBlockBytes);
  const std::optional<std::uint32_t>& only = options.log.segment;
  if (only && *only >= superblock.segment_count)
    return absl::InvalidArgumentError(absl::StrCat("--segment ", *only, ": the store has ", superblock.segment_count));
  std::string out;
  for (std::uint32_t s = only.value_or(0); s < (only ? *only + 1 : superblock.segment_count); ++s) {
    if (const absl::Status status = device->AttachSegment(s, blocks); !status.ok()) {
      absl::StrAppend(&out, "DAMAGE ", Printable(std::string(status.message())), "\n");
      continue;
    }
    ASHLAR_RETURN_IF_ERROR(snode::VisitBatches(*device, superblock, s, [&](const auto& batch, std::span<const std::byte> data) {
      out += BatchLines(batch, data, options.log.entries);
    }));
  }
  return out;
}

}  // namespace

Outcome RunLogVerify(const Options& options) {
  log::SetLevel(log::Level::kError);
  const auto device = snode::FileDevice::OpenReadOnly(options.target);
  if (!device.ok()) return Failed(device.status());
  const auto report = snode::VerifyStore(**device);
  return report.ok() ? RenderVerify(*report, options.common.json) : Failed(report.status());
}

Outcome RunLogInspect(const Options& options) {
  log::SetLevel(log::Level::kError);
  const absl::StatusOr<std::string> lines = Inspect(options);
  return lines.ok() ? Outcome{.exit_code = config::kExitOk, .out = *lines} : Failed(lines.status());
}

}  // namespace ashlar::cli
