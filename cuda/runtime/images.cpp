#include "runtime/images.h"

#include <cstring>
#include <mutex>

namespace native::cuda {
namespace {

struct Loaded {
  Image image;
  ModuleHandle module = nullptr;
  // Why a GPU of that name did not take it: it would be read, and refused, for each kernel of each problem again.
  std::string refusal, refused_by;
};
std::map<std::string, Loaded>& images() {
  static auto* all = new std::map<std::string, Loaded>;
  return *all;
}
std::mutex& mutex() {
  static auto* m = new std::mutex;
  return *m;
}

Loaded& find(const std::string& name) {
  auto found = images().find(name);
  if (found == images().end()) throw DeviceError("no image of kernels '" + name + "' in this build");
  return found->second;
}

// The mutex is locked.
ModuleHandle load(Loaded& of) {
  if (of.module) return of.module;
  Device& gpu = device();
  if (of.refused_by == gpu.name()) throw RefusedImage(of.refusal);
  try {
    of.module = gpu.load(gpu.emulated() ? of.image.ptx : of.image.fatbin);
  } catch (const RefusedImage& error) {
    of.refusal = error.what();
    of.refused_by = gpu.name();
    throw;
  }
  return of.module;
}

}  // namespace

RegisterImage::RegisterImage(const Image& image) { images()[image.name].image = image; }

std::vector<std::string> image_names() {
  std::vector<std::string> names;
  for (const auto& [name, loaded] : images()) names.push_back(name);
  return names;
}

const char* image_ptx(const std::string& name) { return find(name).image.ptx; }

std::string_view image_fatbin(const std::string& name) {
  // Its header: a magic number, the version, bytes of the header, bytes of what follows.
  const char* image = find(name).image.fatbin;
  uint16_t header = 0;
  uint64_t rest = 0;
  std::memcpy(&header, image + 6, sizeof header);
  std::memcpy(&rest, image + 8, sizeof rest);
  return {image, header + rest};
}

Function::Function(const std::string& image, const std::string& name) : name_(name) {
  std::lock_guard lock(mutex());
  handle_ = device().function(load(find(image)), name);
}

void Function::run(Extent grid, unsigned threads, size_t shared, const void* params) const {
  void* arguments[] = {const_cast<void*>(params)};
  device().launch(handle_, name_, grid, {threads}, shared, arguments);
}

}  // namespace native::cuda
