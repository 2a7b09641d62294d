// SPDX-License-Identifier: Apache-2.0
#include <weir/core/backtrace.hh>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>

#include <cxxabi.h>
#include <elf.h>
#include <execinfo.h>
#include <fcntl.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace weir {

namespace {

/// The program's file, mapped while somebody asks for names: no state is kept, no memory is
/// allocated and no lock taken, so that a signal handler may ask.
class program_file {
  public:
    program_file() noexcept {
        const int file = ::open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
        struct stat about{};
        if (file >= 0 && ::fstat(file, &about) == 0 && about.st_size > 0) {
            void* const mapped = ::mmap(nullptr, static_cast<std::size_t>(about.st_size), PROT_READ,
                                        MAP_PRIVATE, file, 0);
            if (mapped != MAP_FAILED) {
                _bytes = {static_cast<const std::byte*>(mapped),
                          static_cast<std::size_t>(about.st_size)};
            }
        }
        if (file >= 0) {
            ::close(file);
        }
    }
    program_file(const program_file&) = delete;
    program_file& operator=(const program_file&) = delete;
    ~program_file() {
        if (!_bytes.empty()) {
            ::munmap(const_cast<std::byte*>(_bytes.data()), _bytes.size());
        }
    }

    /// An array of the file, checked against its size; empty if it does not lie in it.
    template <typename T>
    std::span<const T> array(std::uint64_t offset, std::uint64_t count) const noexcept {
        if (offset > _bytes.size() || offset % alignof(T) != 0 ||
            count > (_bytes.size() - offset) / sizeof(T)) {
            return {};
        }
        return {reinterpret_cast<const T*>(_bytes.data() + offset), count};
    }

  private:
    std::span<const std::byte> _bytes;
};

/// How far the program was moved when it was loaded, and where its code lies then.
struct placed_program {
    std::uintptr_t moved = 0;
    std::uintptr_t code_begin = 0;
    std::uintptr_t code_end = 0;
};

placed_program place_of_program() noexcept {
    placed_program placed;
    // NOLINTNEXTLINE(performance-no-int-to-ptr): the kernel tells it as a number
    const auto* const headers = reinterpret_cast<const Elf64_Phdr*>(::getauxval(AT_PHDR));
    const auto count = ::getauxval(AT_PHNUM);
    for (unsigned long i = 0; i < count; ++i) {
        if (headers[i].p_type == PT_PHDR) {
            placed.moved = reinterpret_cast<std::uintptr_t>(headers) - headers[i].p_vaddr;
        }
    }
    for (unsigned long i = 0; i < count; ++i) {
        if (headers[i].p_type == PT_LOAD && (headers[i].p_flags & PF_X) != 0) {
            placed.code_begin = placed.moved + headers[i].p_vaddr;
            placed.code_end = placed.code_begin + headers[i].p_memsz;
        }
    }
    return placed;
}

symbol find(const program_file& file, std::uintptr_t address) noexcept {
    symbol found;
    const std::uintptr_t sought = address - place_of_program().moved;
    const auto head = file.array<Elf64_Ehdr>(0, 1);
    if (head.empty()) {
        return found;
    }
    const auto sections = file.array<Elf64_Shdr>(head[0].e_shoff, head[0].e_shnum);
    for (const Elf64_Shdr& section : sections) {
        if (section.sh_type != SHT_SYMTAB || section.sh_link >= sections.size()) {
            continue;
        }
        const Elf64_Shdr& text = sections[section.sh_link];
        const auto names = file.array<char>(text.sh_offset, text.sh_size);
        for (const Elf64_Sym& each :
             file.array<Elf64_Sym>(section.sh_offset, section.sh_size / sizeof(Elf64_Sym))) {
            const auto kind = ELF64_ST_TYPE(each.st_info);
            if ((kind == STT_FUNC || kind == STT_OBJECT) && each.st_name < names.size() &&
                sought >= each.st_value && sought - each.st_value < each.st_size) {
                const char* const name = names.data() + each.st_name;
                const std::size_t length =
                    std::min(::strnlen(name, names.size() - each.st_name), found.name.size() - 1);
                std::memcpy(found.name.data(), name, length);
                found.offset = sought - each.st_value;
                return found;
            }
        }
    }
    return found;
}

/// Whether a frame is the place of a return: the call itself lies before it.
const char* before(const void* frame) noexcept {
    return static_cast<const char*>(frame) - 1;
}

}  // namespace

backtrace backtrace::here(std::size_t skipped) noexcept {
    std::array<void*, frames_max + 1> found{};
    const int count = ::backtrace(found.data(), static_cast<int>(found.size()));
    const std::size_t first = std::min(skipped + 1, static_cast<std::size_t>(std::max(count, 0)));
    return of(std::span(found).subspan(first, static_cast<std::size_t>(count) - first));
}

backtrace backtrace::of(std::span<void* const> frames) noexcept {
    backtrace made;
    made._count = std::min(frames.size(), made._frames.size());
    std::copy_n(frames.begin(), made._count, made._frames.begin());
    return made;
}

std::string backtrace::text(std::size_t bytes_max) const {
    constexpr std::size_t name_max = 160;
    const program_file file;
    std::string all;
    for (void* const frame : frames()) {
        const symbol known = find(file, reinterpret_cast<std::uintptr_t>(before(frame)));
        std::string one;
        if (known.name[0] != '\0') {
            one = demangled(known.name.data());
        } else {
            void* copy = frame;
            const std::unique_ptr<char*, decltype(&std::free)> told(::backtrace_symbols(&copy, 1),
                                                                    &std::free);
            one = told != nullptr ? *told : "?";
        }
        if (one.size() > name_max) {
            one.replace(name_max, std::string::npos, "...");
        }
        if (all.size() + one.size() + 3 > bytes_max) {
            break;
        }
        all += (all.empty() ? "" : " < ") + one;
    }
    return all;
}

void backtrace::write(int descriptor) const noexcept {
    const program_file file;
    for (std::size_t i = 0; i < _count; ++i) {
        const symbol known = find(file, reinterpret_cast<std::uintptr_t>(before(_frames[i])));
        if (known.name[0] == '\0') {
            ::backtrace_symbols_fd(&_frames[i], 1, descriptor);
            continue;
        }
        char line[512];
        const int length = std::snprintf(line, sizeof line, "  %s+0x%zx [%p]\n", known.name.data(),
                                         known.offset + 1, _frames[i]);
        (void)!::write(descriptor, line,
                       std::min(static_cast<std::size_t>(std::max(length, 0)), sizeof line - 1));
    }
}

symbol symbol_of(const void* address) noexcept {
    return find(program_file(), reinterpret_cast<std::uintptr_t>(address));
}

std::string demangled(const char* name) {
    int status = 0;
    const std::unique_ptr<char, decltype(&std::free)> told(
        abi::__cxa_demangle(name, nullptr, nullptr, &status), &std::free);
    return status == 0 && told != nullptr ? told.get() : name;
}

bool is_code(const void* address) noexcept {
    const placed_program placed = place_of_program();
    const auto at = reinterpret_cast<std::uintptr_t>(address);
    return at >= placed.code_begin && at < placed.code_end;
}

bool read_own_memory(const void* from, void* to, std::size_t bytes) noexcept {
    const int memory = ::open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
    if (memory < 0) {
        return false;
    }
    const ssize_t count =
        ::pread(memory, to, bytes, static_cast<off_t>(reinterpret_cast<std::uintptr_t>(from)));
    ::close(memory);
    return count == static_cast<ssize_t>(bytes);
}

}  // namespace weir
