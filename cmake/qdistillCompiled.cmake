# qdistill::compiled: the float kernels and io instantiated once, `extern template` for whoever links it. Included by
# the project itself and by its installed package (component "compiled"), which builds it from the installed source with
# the consumer's own compiler and flags: the package stays independent of the architecture.
# In: QDISTILL_COMPILED_SOURCE.
add_library(qdistill_compiled STATIC EXCLUDE_FROM_ALL "${QDISTILL_COMPILED_SOURCE}")
add_library(qdistill::compiled ALIAS qdistill_compiled)
target_link_libraries(qdistill_compiled PUBLIC qdistill::qdistill)
target_compile_definitions(qdistill_compiled PUBLIC QDISTILL_COMPILED=1)
