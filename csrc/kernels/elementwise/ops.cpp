#include "kernels/elementwise/ops.h"

#include <charconv>
#include <unordered_map>

#include "kernels/elementwise/lower.h"

namespace native {
namespace {

constexpr uint32_t bit(DType dtype) { return 1u << static_cast<int>(dtype); }
constexpr uint32_t kBool = bit(DType::Bool);
constexpr uint32_t kIntegers = bit(DType::U8) | bit(DType::U16) | bit(DType::U32) | bit(DType::U64) | bit(DType::I8) |
                               bit(DType::I16) | bit(DType::I32) | bit(DType::I64);
constexpr uint32_t kBits = kIntegers | kBool;
constexpr uint32_t kFullFloats = bit(DType::F32) | bit(DType::F64);
constexpr uint32_t kFloats = kFullFloats | bit(DType::F16) | bit(DType::BF16);
constexpr uint32_t kReal = kIntegers | kFloats;
constexpr uint32_t kNumeric = kReal;  // complex numbers stay on the host
constexpr uint32_t kAny = kReal | kBool;

constexpr OpInfo kOps[] = {
#define X(name, operands, accepts, result, cost, immediate) \
  {#name, Opcode::name, operands, accepts, ResultDType::result, cost, immediate},
    NATIVE_ELEMENTWISE_OPS(X)
#undef X
};

}  // namespace

std::string decimal(double value) {
  char text[32];
  return {text, std::to_chars(text, text + sizeof text, value).ptr};
}

const OpInfo* find_elementwise(const std::string& op) {
  static const auto index = [] {
    std::unordered_map<std::string, const OpInfo*> map;
    for (const OpInfo& info : kOps) map.emplace(info.name, &info);
    return map;
  }();
  const auto found = index.find(op);
  return found == index.end() ? nullptr : found->second;
}

bool elementwise_op_supported(const Problem& problem) {
  const OpInfo* info = find_elementwise(problem.op);
  if (!info || problem.in.size() != static_cast<size_t>(info->operands) || problem.out.size() != 1) return false;
  std::vector<DType> sources;
  for (const Spec& spec : problem.in) sources.push_back(spec.dtype);
  const size_t first = info->code == Opcode::select ? 1 : 0;
  if (first && sources[0] != DType::Bool) return false;
  for (size_t i = first; i < sources.size(); ++i)
    if (sources[i] != sources[first] || !(info->accepts >> static_cast<int>(sources[i]) & 1)) return false;
  const DType expected = info->result == ResultDType::Bool ? DType::Bool : sources[first];
  if (info->result != ResultDType::Attribute && problem.out[0].dtype != expected) return false;
  return can_lower(*info, sources, problem.out[0].dtype);
}

std::string elementwise_instruction(const Problem& problem, int dst, const std::vector<int>& sources) {
  const OpInfo* info = find_elementwise(problem.op);
  std::string text = "r" + std::to_string(dst) + ":" + name_of(problem.out.at(0).dtype) + "=" + problem.op;
  if (*info->immediate) text += "[" + decimal(problem.attrs.real(info->immediate)) + "]";
  for (int source : sources) text += " r" + std::to_string(source);
  return text;
}

std::string program_of(const Problem& problem) {
  std::vector<int> sources;
  for (size_t i = 0; i < problem.in.size(); ++i) sources.push_back(static_cast<int>(i));
  const int dst = static_cast<int>(sources.size());
  return elementwise_instruction(problem, dst, sources) + "; out r" + std::to_string(dst);
}

}  // namespace native
