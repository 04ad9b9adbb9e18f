# qdistill_own_target(<target> [NATIVE]): warnings and sanitizers of our own targets. Never exported.
# NATIVE: a program to be shown or measured, optimised for the machine that builds (option QDISTILL_NATIVE). It only links
# the sanitizers, which make a unit several times as long to compile: they are for the tests.
function(qdistill_own_target target)
  cmake_parse_arguments(PARSE_ARGV 1 own "NATIVE" "" "")
  set_target_properties(${target} PROPERTIES CXX_EXTENSIONS OFF)
  if(CMAKE_CXX_COMPILER_ID MATCHES "GNU|Clang")
    target_compile_options(${target} PRIVATE -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion)
    if(QDISTILL_WERROR)
      target_compile_options(${target} PRIVATE -Werror)
      if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
        # g++ 12 gives these inside its own library's containers where nothing is wrong; they stay warnings.
        target_compile_options(
          ${target} PRIVATE -Wno-error=stringop-overflow -Wno-error=stringop-overread -Wno-error=array-bounds
                            -Wno-error=restrict -Wno-error=maybe-uninitialized)
      endif()
    endif()
    if(own_NATIVE AND QDISTILL_NATIVE)
      target_compile_options(${target} PRIVATE -O3 -march=native)
    endif()
    if(QDISTILL_SANITIZE)
      target_link_options(${target} PRIVATE -fsanitize=${QDISTILL_SANITIZE})
    endif()
    if(QDISTILL_SANITIZE AND NOT own_NATIVE)
      target_compile_options(${target} PRIVATE -fsanitize=${QDISTILL_SANITIZE} -fno-sanitize-recover=all
                                               -fno-omit-frame-pointer -g1)
      if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
        target_compile_options(${target} PRIVATE -Wno-maybe-uninitialized)  # many false ones in instrumented code
      else()
        target_compile_options(${target} PRIVATE -Wno-pass-failed)  # instrumented loops do not vectorise
      endif()
    endif()
  endif()
endfunction()
