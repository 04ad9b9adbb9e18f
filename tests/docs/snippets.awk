# Makes one translation unit of the ```cpp blocks of a Markdown file; it is compiled, not run.
#   - #include lines go to the top;
#   - a block with a definition at the start of a line (class, template, namespace, ...) stands at file scope;
#   - a block with a main function gets a namespace of its own;
#   - the other blocks are statements, in order, of one function: later ones see the variables of earlier ones.
# A block that is not meant to compile is fenced with another word, such as ```text. Lines keep their numbers in errors.
/^```cpp[ \t]*$/ { inside = 1; kind = "statements"; text = "#line " (FNR + 1) " \"" FILENAME "\"\n"; next }
/^```/ && inside {
  inside = 0
  count++
  if (kind == "main") file_scope = file_scope "namespace snippet_" count " {\n" text "}\n"
  else if (kind == "file") file_scope = file_scope text
  else statements = statements text
  next
}
inside && /^#[ \t]*include/ { includes = includes $0 "\n"; $0 = "" }
inside && /^#[ \t]*pragma once/ { $0 = "" }
inside {
  if ($0 ~ /^int main\(/) kind = "main"
  else if (kind != "main" && $0 ~ /^(template|class|struct|enum|namespace|inline|using namespace|#[ \t]*define|TEST_CASE)/) kind = "file"
  text = text $0 "\n"
}
END {
  if (inside) { print FILENAME ": a block is not closed" > "/dev/stderr"; exit 1 }
  printf "%s", includes
  print "#include \"qdistill/qdistill.hpp\""
  printf "%s", file_scope
  printf "void statements_of_%s();\nvoid statements_of_%s() {\n%s}\n", name, name, statements
}
