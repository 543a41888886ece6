// The words of a report that no reader can know, each explained once.
#include <algorithm>
#include <array>
#include <cctype>
#include <span>

#include "render/text/text.h"

namespace qd::render {
namespace {

struct Word {
  std::string_view name;
  std::string_view also;  // other spellings, between commas
  std::string_view text;
};

constexpr std::array words{
    Word{"Active Snapshot", "active", "The disk as the guest sees it now: the tables that the header names."},
    Word{"Inactive Snapshot", "inactive",
         "An internal snapshot: a state of the disk that was kept, with tables of its own."},
    Word{"L1 Table", "l1",
         "The first of two tables that say where the guest's data lies: each entry names an L2 table."},
    Word{"L2 Table", "l2",
         "The second: each entry names the cluster of the file that holds a piece of the guest's disk."},
    Word{"cluster", "", "The unit of an image: so many bytes of the file, 64 KiB unless it was made otherwise."},
    Word{"unaligned", "", "Entries whose offset isn't the beginning of a cluster."},
    Word{"invalid", "", "Entries that lead outside the file, or have bits set that have no meaning."},
    Word{"unused", "", "Entries that name nothing; of refcounts, those that are 0."},
    Word{"used", "", "Entries that name something; of refcounts, those that are as they should be."},
    Word{"new/diff", "new, diff",
         "How many clusters this state doesn't share with the snapshot before it: what was written between the two."},
    Word{"zero_alloc", "zero_allocated",
         "Entries that read as zeros, and keep a cluster for what will be written there."},
    Word{"zero_plain", "", "Entries that read as zeros, and have no cluster."},
    Word{"Held alone", "alone, held", "Clusters that only this snapshot uses: free once it is deleted."},
    Word{"refcount", "reference",
         "How often a cluster is used, as the file says. The check counts references for itself, and compares."},
    Word{"Refcount Table", "refcount block", "Where the refcounts are kept: the table's entries name blocks of them."},
    Word{"error", "", "In the line of refcounts: clusters with a refcount that is too low. They may be written over."},
    Word{"leak", "leaked",
         "A refcount that is too high: space that nothing seems to use. The data in use is safe; what looks leaked "
         "may be the data of a table that was lost."},
    Word{"COPIED", "OFLAG, OFLAG_COPIED, COPIED OFLAG",
         "A flag of L1 and L2 entries: the cluster has a refcount of 1, so it may be written to where it lies. Set "
         "where "
         "it shouldn't be, a snapshot is written over; clear where it should be set, it only costs time."},
    Word{"COMPRESSED", "", "A flag of L2 entries: the data is compressed, in sectors that share clusters with others."},
    Word{"reuse", "reused",
         "Clusters that are used twice: for two places of the guest's disk, or for data and tables at once. What the "
         "one writes, the other loses."},
    Word{"Active Cluster", "", "Clusters of data that the active disk uses."},
    Word{"Inactive Cluster", "", "Clusters of data that only snapshots use."},
    Word{"Shared Cluster", "shared", "Clusters of data that the active disk and a snapshot use together."},
    Word{"All Used Cluster", "", "Clusters that anything uses: data, and all tables."},
    Word{"Free Cluster", "free", "Clusters within the file that nothing uses."},
    Word{"Discardable", "", "Free space that still takes up room on the disk: -R discard gives it back."},
    Word{"In Data File", "", "Clusters of data that lie in the external data file, and have no refcounts."},
    Word{"VM_STATE", "",
         "The memory and devices of the guest, kept with a snapshot of it as it ran; 0B: only the disk was."},
    Word{"orphan", "orphans", "A table or data that nothing names, but that somebody may miss."},
    Word{"lossy", "", "A step of a repair that drops something which might have been of use. The others are safe."},
    Word{"dirty bit", "dirty", "A bit of the header: refcounts may be old, and are to be counted anew before use."},
    Word{"corrupt bit", "corrupt",
         "A bit of the header: somebody has found damage, and QEMU doesn't write until it is cleared."},
    Word{"incompatible", "", "Features without which an image can't be read: who doesn't know one must not open it."},
    Word{"compatible", "", "Features that don't matter to whoever doesn't know them."},
    Word{"autoclear", "",
         "Features that hold until somebody writes to the image who doesn't know them, and clears them."},
    Word{"subcluster", "subclusters, extended L2, bitmap",
         "With extended L2 entries, a 32nd of a cluster: a bitmap in the entry says which of them are there, and which "
         "are "
         "zeros. (A dirty bitmap is something else: it says what has changed since a backup.)"},
};

bool same(std::string_view a, std::string_view b) {
  return std::ranges::equal(a, b, [](unsigned char x, unsigned char y) { return std::tolower(x) == std::tolower(y); });
}

bool spells(const Word& word, std::string_view text) {
  if (same(word.name, text)) return true;
  std::string_view rest = word.also;
  while (!rest.empty()) {
    const std::size_t comma = rest.find(", ");
    if (same(rest.substr(0, comma), text)) return true;
    rest.remove_prefix(comma == rest.npos ? rest.size() : comma + 2);
  }
  return false;
}

}  // namespace

std::string explain_word(std::string_view text) {
  if (text.ends_with(':')) text.remove_suffix(1);
  const auto word = std::ranges::find_if(words, [&](const Word& w) { return spells(w, text); });
  if (word == words.end()) return {};
  return fmt::format("{}\n\n", word->name) + wrap(word->text);
}

std::string words_list() {
  std::string list = "Words of a report:\n";
  for (const Word& word : words) list += wrap(word.text, fmt::format("{:<19}", word.name));
  return list;
}

}  // namespace qd::render
