#include "qdistill/train/format.hpp"

#include <catch2/catch.hpp>
#include <limits>

#include "xml_check.hpp"

using namespace qdistill;
using namespace qdistill::train;

TEST_CASE("numbers as text", "[train]") {
  CHECK(fixed(12.345, 2) == "12.35");
  CHECK(fixed(-0.001, 2) == "0.00");
  CHECK(fixed(-0.006, 2) == "-0.01");
  CHECK(fixed(std::numeric_limits<double>::quiet_NaN(), 2) == "nan");
  CHECK(fixed(-std::numeric_limits<double>::infinity(), 2) == "-inf");
  CHECK(fixed(std::numeric_limits<double>::max(), 3).size() == 313);
  CHECK(significant(0.0123456, 3) == "0.0123");
  CHECK(significant(3.2e-9, 2) == "3.2e-09");
  CHECK(significant(1234.5, 3) == "1234");
  CHECK(significant(0) == "0");
  CHECK(grouped(0) == "0");
  CHECK(grouped(-999) == "-999");
  CHECK(grouped(-1000) == "-1,000");
  CHECK(grouped(5343026) == "5,343,026");
  CHECK(grouped(std::numeric_limits<Index>::min()) == "-9,223,372,036,854,775,808");
  CHECK(bytes_text(532) == "532 B");
  CHECK(bytes_text(999.6) == "1.00 kB");
  CHECK(bytes_text(21372104) == "21.4 MB");
  CHECK(duration(0.421) == "0.42 s");
  CHECK(duration(59.99) == "1:00");
  CHECK(duration(245) == "4:05");
  CHECK(duration(2 * 3600 + 245) == "2:04:05");
  CHECK(duration(std::numeric_limits<double>::quiet_NaN()) == "?");
}

TEST_CASE("display width, padding and truncation of UTF-8", "[train]") {
  CHECK(display_width("abc") == 3);
  CHECK(display_width("größe") == 5);
  CHECK(display_width("日本") == 4);
  CHECK(display_width("e\xCC\x81") == 1);  // e and a combining acute accent
  CHECK(display_width("\xFF\xC3") == 2);   // two bad bytes
  CHECK(padded("é", 3) == "é  ");
  CHECK(padded("日", 4, true) == "  日");
  CHECK(padded("long", 2) == "long");
  CHECK(truncated("größer", 6) == "größer");
  CHECK(truncated("größer", 4) == "grö…");
  CHECK(truncated("日本語", 4) == "日…");
  CHECK(one_line("a\tb\x1b[31m\n") == "a b [31m ");
}

TEST_CASE("only valid UTF-8 is decoded as such", "[train]") {
  CHECK(decode_utf8("\xF0\x9F\x98\x80", 0).value == 0x1F600);
  CHECK(decode_utf8("\xC0\x80", 0).bytes == 1);          // overlong
  CHECK(decode_utf8("\xE0\x80\x80", 0).bytes == 1);      // overlong
  CHECK(decode_utf8("\xED\xA0\x80", 0).bytes == 1);      // surrogate
  CHECK(decode_utf8("\xF4\x90\x80\x80", 0).bytes == 1);  // above U+10FFFF
  CHECK(decode_utf8("\xE2\x82", 0).bytes == 1);          // cut
}

TEST_CASE("escaping makes any bytes well-formed XML", "[train]") {
  CHECK(escape_xml("<a href=\"x\">&'") == "&lt;a href=&quot;x&quot;&gt;&amp;&#39;");
  std::string all;
  for (int c = 0; c < 256; ++c) all += static_cast<char>(c);
  all += "\xEF\xBF\xBF]]>-->";
  const std::string e = escape_xml(all);
  CHECK(xml_check::problem("<a b=\"" + e + "\">" + e + "</a>") == "");
}

TEST_CASE("the XML check finds faults", "[train]") {
  CHECK(xml_check::problem("<a><b/></a>") == "");
  for (const char* bad : {"", "<a>", "<a></b>", "<a>&</a>", "<a b=c/>", "<a b=\"<\"/>", "<a b=\"1\" b=\"2\"/>",
                          "<a/><b/>", "<a>\x01</a>", "<a>\xFF</a>", "<a/>x"})
    CHECK(xml_check::problem(bad) != "");
}
