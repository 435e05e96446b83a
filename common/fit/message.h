// Reading and writing the data path's messages: a fixed head, then `head.count` items, nothing behind. A number from the
// wire is not believed before it was checked here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>

namespace ashlar::fit {

template <typename Head, typename Item>
struct Message {
  Head head;
  std::span<const std::byte> items;
  Item item(std::size_t i) const {
    Item value;
    std::memcpy(&value, items.data() + i * sizeof(Item), sizeof(Item));
    return value;
  }
};

// nullopt: too short, too long, or more items than `max_items`.
template <typename Head, typename Item>
std::optional<Message<Head, Item>> ReadMessage(std::span<const std::byte> payload, std::uint32_t max_items) {
  Message<Head, Item> message;
  if (payload.size() < sizeof(Head)) return std::nullopt;
  std::memcpy(&message.head, payload.data(), sizeof(Head));
  message.items = payload.subspan(sizeof(Head));
  if (message.head.count > max_items || message.items.size() != std::size_t{message.head.count} * sizeof(Item)) return std::nullopt;
  return message;
}

// Fills a reply's payload from its start. The caller knows that it fits (asserted in messages.h).
class MessageWriter {
 public:
  explicit MessageWriter(std::span<std::byte> payload) : payload_(payload) {}
  template <typename T>
  void Put(const T& value) {
    std::memcpy(payload_.data() + size_, &value, sizeof(T));
    size_ += sizeof(T);
  }
  std::uint32_t size() const { return static_cast<std::uint32_t>(size_); }

 private:
  std::span<std::byte> payload_;
  std::size_t size_ = 0;
};

}  // namespace ashlar::fit
