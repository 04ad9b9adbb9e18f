# Uses ccache where it is found and no launcher was chosen. The sloppiness is what ccache asks for with precompiled
# headers.
find_program(QDISTILL_CCACHE ccache)
mark_as_advanced(QDISTILL_CCACHE)
if(QDISTILL_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER "${CMAKE_COMMAND}" -E env CCACHE_SLOPPINESS=pch_defines,time_macros
                                  "${QDISTILL_CCACHE}")
endif()
