# Installs the headers, the CMake package and the pkg-config file. Nothing of it depends on the architecture: the
# package's components "compiled" and "images" are built by the consumer from the installed source.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(package_dir "${CMAKE_INSTALL_DATADIR}/cmake/qdistill")
install(DIRECTORY include/qdistill DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}" FILES_MATCHING PATTERN "*.hpp")
install(FILES LICENSE DESTINATION "${CMAKE_INSTALL_DATADIR}/qdistill")
install(FILES src/compiled.cpp DESTINATION "${package_dir}" RENAME qdistillCompiled.cpp)
install(FILES src/images.cpp DESTINATION "${package_dir}" RENAME qdistillImages.cpp)
install(FILES cmake/qdistillCompiled.cmake cmake/qdistillImages.cmake DESTINATION "${package_dir}")

install(TARGETS qdistill EXPORT qdistillTargets INCLUDES DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
install(EXPORT qdistillTargets NAMESPACE qdistill:: DESTINATION "${package_dir}")
set(QDISTILL_USES_OPENMP OFF)
if(QDISTILL_WITH_OPENMP AND OpenMP_CXX_FOUND)
  set(QDISTILL_USES_OPENMP ON)
endif()
configure_package_config_file(cmake/qdistillConfig.cmake.in "${PROJECT_BINARY_DIR}/qdistillConfig.cmake"
                              INSTALL_DESTINATION "${package_dir}" NO_SET_AND_CHECK_MACRO)
# Before 1.0 a minor version may break its users.
write_basic_package_version_file("${PROJECT_BINARY_DIR}/qdistillConfigVersion.cmake" COMPATIBILITY SameMinorVersion
                                 ARCH_INDEPENDENT)
install(FILES "${PROJECT_BINARY_DIR}/qdistillConfig.cmake" "${PROJECT_BINARY_DIR}/qdistillConfigVersion.cmake"
        DESTINATION "${package_dir}")

# The pkg-config file finds its prefix from where it lies, so that the installed tree can be moved.
set(QDISTILL_PC_CFLAGS "-pthread")
set(QDISTILL_PC_LIBS "-pthread")
if(QDISTILL_USES_OPENMP)
  string(APPEND QDISTILL_PC_CFLAGS " ${OpenMP_CXX_FLAGS}")
  string(APPEND QDISTILL_PC_LIBS " ${OpenMP_CXX_FLAGS}")
endif()
file(RELATIVE_PATH QDISTILL_PC_PREFIX "/prefix/${CMAKE_INSTALL_DATADIR}/pkgconfig" "/prefix")
configure_file(cmake/qdistill.pc.in "${PROJECT_BINARY_DIR}/qdistill.pc" @ONLY)
install(FILES "${PROJECT_BINARY_DIR}/qdistill.pc" DESTINATION "${CMAKE_INSTALL_DATADIR}/pkgconfig")
