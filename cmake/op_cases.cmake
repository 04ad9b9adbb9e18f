# qdistill_op_case_sources(<variable>): one small source file for each tests/ops/NAME.case.hpp. A new case is picked up
# by itself; tests and benchmarks both compile these.
function(qdistill_op_case_sources variable)
  file(GLOB cases CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/tests/ops/*.case.hpp")
  set(sources)
  foreach(case IN LISTS cases)
    get_filename_component(file "${case}" NAME)
    string(REPLACE ".hpp" ".cpp" source "${PROJECT_BINARY_DIR}/op_cases/${file}")
    file(CONFIGURE OUTPUT "${source}" CONTENT "#include \"ops/${file}\"\n" @ONLY)
    list(APPEND sources "${source}")
  endforeach()
  set(${variable} "${sources}" PARENT_SCOPE)
endfunction()
