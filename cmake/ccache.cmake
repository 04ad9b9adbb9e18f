# At top level, uses ccache where it is found and no launcher was chosen. The sloppiness is what it asks for with
# precompiled headers.
find_program(QDISTILL_CCACHE ccache)
mark_as_advanced(QDISTILL_CCACHE)
if(PROJECT_IS_TOP_LEVEL AND QDISTILL_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER "${CMAKE_COMMAND}" -E env CCACHE_SLOPPINESS=pch_defines,time_macros
                                  "${QDISTILL_CCACHE}")
endif()

# qdistill_cache_precompiled(<target>): what ccache needs of the compiler to work with the target's precompiled header.
function(qdistill_cache_precompiled target)
  if(QDISTILL_CCACHE AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    target_compile_options(${target} PRIVATE -fpch-preprocess)
  elseif(QDISTILL_CCACHE AND CMAKE_CXX_COMPILER_ID MATCHES "Clang")
    target_compile_options(${target} PRIVATE "SHELL:-Xclang -fno-pch-timestamp")
  endif()
endfunction()
