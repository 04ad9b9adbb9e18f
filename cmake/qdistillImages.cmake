# qdistill::images: the decoder of JPEG and PNG behind data/image_file.hpp, with stb_image. There where stb_image.h is
# found (Debian: libstb-dev); nothing else of the project needs it. Included by the project itself and by its installed
# package (component "images"), which builds it from the installed source.
# In: QDISTILL_IMAGES_SOURCE.
find_path(QDISTILL_STB_DIR stb_image.h PATH_SUFFIXES stb DOC "Folder of stb_image.h, for qdistill::images")
mark_as_advanced(QDISTILL_STB_DIR)
if(QDISTILL_STB_DIR)
  add_library(qdistill_images STATIC EXCLUDE_FROM_ALL "${QDISTILL_IMAGES_SOURCE}")
  add_library(qdistill::images ALIAS qdistill_images)
  target_link_libraries(qdistill_images PUBLIC qdistill::qdistill)
  target_include_directories(qdistill_images SYSTEM PRIVATE "${QDISTILL_STB_DIR}")
  if(CMAKE_CXX_COMPILER_ID MATCHES "GNU|Clang")
    # A damaged file makes stb_image's sums overflow: wrong pixels, which is right, and nothing worse.
    target_compile_options(qdistill_images PRIVATE -fwrapv)
  endif()
endif()
