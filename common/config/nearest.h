// "Did you mean …": the known word that a mistyped one is closest to.
#pragma once

#include <string_view>
#include <vector>

namespace ashlar::config {

// By edits (insert, delete, replace, swap of neighbours), at most a third of the word's length; empty when none is near.
std::string_view NearestWord(std::string_view word, const std::vector<std::string_view>& known);

}  // namespace ashlar::config
