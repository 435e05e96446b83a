# One target per library, no global flags: what a target needs, it says.

# Flags every target of ours gets. ASHLAR_SANITIZE is set by the presets: "address,undefined", "thread" or empty.
set(ASHLAR_SANITIZE "" CACHE STRING "sanitizers for -fsanitize=, empty for none")
add_library(ashlar_flags INTERFACE)
target_compile_features(ashlar_flags INTERFACE cxx_std_20)
target_compile_options(ashlar_flags INTERFACE -Wall -Wextra -Wshadow -Wconversion -Werror -Wno-missing-field-initializers)
target_compile_definitions(ashlar_flags INTERFACE _GNU_SOURCE ASHLAR_VERSION="${PROJECT_VERSION}")
target_include_directories(ashlar_flags INTERFACE ${CMAKE_SOURCE_DIR})
if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  target_compile_options(ashlar_flags INTERFACE -Wthread-safety)
else()
  # gcc 12 warns inside abseil's and libstdc++'s own inlined code.
  target_compile_options(ashlar_flags INTERFACE -Wno-maybe-uninitialized -Wno-array-bounds -Wno-stringop-overflow -Wno-restrict)
endif()
if(ASHLAR_SANITIZE)
  target_compile_options(ashlar_flags INTERFACE -fsanitize=${ASHLAR_SANITIZE} -fno-omit-frame-pointer)
  target_link_options(ashlar_flags INTERFACE -fsanitize=${ASHLAR_SANITIZE})
  if(ASHLAR_SANITIZE STREQUAL "thread")
    # TSan does not follow fences. The one we have (shm/ring.cc) orders a sleep against a wake; bytes go by release and acquire.
    target_compile_options(ashlar_flags INTERFACE -Wno-tsan)
  endif()
  if(ASHLAR_SANITIZE MATCHES "undefined")
    target_compile_options(ashlar_flags INTERFACE -fno-sanitize-recover=undefined)
  endif()
endif()

function(_ashlar_target name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS" ${ARGN})
  target_sources(${name} PRIVATE ${ARG_SOURCES})
  target_link_libraries(${name} PUBLIC ashlar_flags ${ARG_DEPS})
endfunction()

# ashlar_library(fit SOURCES a.cc DEPS ashlar::fabric): target ashlar_fit, alias ashlar::fit.
function(ashlar_library name)
  add_library(ashlar_${name} STATIC)
  add_library(ashlar::${name} ALIAS ashlar_${name})
  _ashlar_target(ashlar_${name} ${ARGN})
endfunction()

# ashlar_daemon(ashlar-mnode SOURCES main.cc DEPS …): a binary in build/<preset>/bin.
function(ashlar_daemon name)
  add_executable(${name})
  _ashlar_target(${name} ${ARGN})
endfunction()

# What `./dev` builds: nothing of these is in `all`, so that each preset builds only what it runs.
foreach(group unit_tests integration_tests vm_tests benches programs fuzz_targets)
  add_custom_target(${group})
endforeach()

# ashlar_test(fit_test SOURCES … DEPS … [LABELS unit] [TIMEOUT 60] [NO_TSAN "why"]): one ctest entry per binary, which prints
# its own cases. Labels: unit (default; no privilege, no device) | sim | integration | vm (in the guest of ./dev vm-test) | long.
# NO_TSAN: left out of the preset tsan.
function(ashlar_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT;NO_TSAN" "SOURCES;DEPS;LABELS" ${ARGN})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  if(NOT ARG_LABELS)
    set(ARG_LABELS unit)
  endif()
  if(ASHLAR_SANITIZE STREQUAL "thread")
    if(ARG_NO_TSAN)
      message(STATUS "tsan: ${name} is left out: ${ARG_NO_TSAN}")
      return()
    endif()
    list(APPEND ARG_SOURCES ${CMAKE_SOURCE_DIR}/tests/support/absl_for_tsan.cc)
    list(APPEND ARG_DEPS absl::synchronization ${CMAKE_DL_LIBS})
    math(EXPR ARG_TIMEOUT "5 * ${ARG_TIMEOUT}")
  endif()
  add_executable(${name} EXCLUDE_FROM_ALL)
  _ashlar_target(${name} SOURCES ${ARG_SOURCES} DEPS ${ARG_DEPS} ashlar::test_main)
  if("vm" IN_LIST ARG_LABELS)
    add_dependencies(vm_tests ${name})
  elseif("integration" IN_LIST ARG_LABELS)
    add_dependencies(integration_tests ${name})
  else()
    add_dependencies(unit_tests ${name})
  endif()
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES TIMEOUT ${ARG_TIMEOUT} LABELS "${ARG_LABELS}" SKIP_RETURN_CODE 77)
endfunction()

# ashlar_bench(fabric SOURCES … DEPS …): build/<preset>/tests/bench/fabric, run by `./dev bench`.
function(ashlar_bench name)
  add_executable(bench_${name} EXCLUDE_FROM_ALL)
  add_dependencies(benches bench_${name})
  _ashlar_target(bench_${name} ${ARGN})
  set_target_properties(bench_${name} PROPERTIES OUTPUT_NAME ${name}
                        RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests/bench)
endfunction()

# ashlar_program(word_count SOURCES …): a plain program with nothing of Ashlar in it, to be run on remote memory by tests,
# benchmarks and the demo: build/<preset>/tests/programs/word_count.
function(ashlar_program name)
  cmake_parse_arguments(ARG "STATIC" "" "SOURCES" ${ARGN})
  add_executable(program_${name} EXCLUDE_FROM_ALL ${ARG_SOURCES})
  add_dependencies(programs program_${name})
  target_compile_features(program_${name} PRIVATE cxx_std_20)
  target_compile_options(program_${name} PRIVATE -Wall -Wextra -Werror)
  target_link_libraries(program_${name} PRIVATE Threads::Threads)
  if(ARG_STATIC)
    target_link_options(program_${name} PRIVATE -static)
  endif()
  set_target_properties(program_${name} PROPERTIES OUTPUT_NAME ${name}
                        RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests/programs)
endfunction()

# ashlar_fuzz(fit_frame SOURCES … DEPS …): a libFuzzer target, built by clang only (preset `fuzz`).
function(ashlar_fuzz name)
  if(NOT ASHLAR_FUZZ)
    return()
  endif()
  add_executable(fuzz_${name} EXCLUDE_FROM_ALL)
  add_dependencies(fuzz_targets fuzz_${name})
  _ashlar_target(fuzz_${name} ${ARGN})
  target_link_options(fuzz_${name} PRIVATE -fsanitize=fuzzer)
  set_target_properties(fuzz_${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests/fuzz)
endfunction()
