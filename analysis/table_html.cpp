// Tables as a page of HTML that opens from disk: nothing is loaded from anywhere, heads say what
// they are heads of, and marks are words for who doesn't see them.
#include <fmt/format.h>

#include "analysis/table.h"
#include "analysis/table_paired.h"
#include "analysis/table_writers.h"
#include "config/part.h"
#include "core/text.h"

namespace tandem {
namespace {

constexpr const char* kStyle =
    ":root{color-scheme:light dark}body{font:16px/1.45 system-ui,sans-serif;margin:2rem auto;"
    "max-width:72rem;padding:0 1rem}div{overflow-x:auto}table{border-collapse:collapse;"
    "font-variant-numeric:tabular-nums}caption{text-align:left;font-weight:600;padding:.4rem 0}"
    "thead tr:first-child th{border-top:2px solid}thead tr:last-child th{border-bottom:1px solid}"
    "tbody tr:last-child>*{border-bottom:2px solid}th,td{padding:.2rem .7rem;text-align:right;"
    "font-weight:400;white-space:nowrap}th[scope=row],.key{text-align:left;white-space:normal}"
    "th[scope=colgroup]{text-align:center;border-bottom:1px solid}.best{font-weight:700}"
    ".second{text-decoration:underline}p{font-size:.85rem;max-width:60rem}";

std::string html_text(const std::string& text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string label_of_column(const Table& table, std::size_t j) {
  std::string label = html_text(table.heads[j].label + (is_share(table.measures[j]) ? " (%)" : ""));
  if (table.heads[j].better == Direction::kNone || !has_standing(table)) return label;
  const bool higher = table.heads[j].better == Direction::kHigher;
  return label + fmt::format(" <span title=\"{} is better\">{}</span>", higher ? "more" : "less",
                             higher ? "↑" : "↓");
}

std::string heads_of(const Table& table) {
  std::string spans, labels;
  bool spanned = false;
  for (const ColumnHead& head : table.heads) spanned = spanned || !head.span.empty();
  if (spanned) {
    spans = fmt::format("<tr><td colspan=\"{}\"></td>", table.key_names.size());
    for (std::size_t j = 0; j < table.heads.size();) {
      std::size_t end = j;
      while (end < table.heads.size() && table.heads[end].span == table.heads[j].span) ++end;
      spans += fmt::format("<th scope=\"colgroup\" colspan=\"{}\">{}</th>", end - j,
                           html_text(table.heads[j].span));
      j = end;
    }
    spans += "</tr>\n";
  }
  for (const std::string& key : table.key_names)
    labels += fmt::format("<th scope=\"col\" class=\"key\">{}</th>", html_text(key));
  for (std::size_t j = 0; j < table.columns.size(); ++j)
    labels += fmt::format("<th scope=\"col\">{}</th>", label_of_column(table, j));
  return "<thead>\n" + spans + "<tr>" + labels + "</tr>\n</thead>\n";
}

std::string cell_of(const TableCell& cell) {
  std::string text = html_text(cell_text(cell));
  if (!text.empty() && cell.standing != Standing::kNone) {
    const bool second = cell.standing == Standing::kSecond;
    text = fmt::format("<span class=\"{}\" title=\"{}\">{}</span>", second ? "second" : "best",
                       second                             ? "the next"
                       : cell.standing == Standing::kTied ? "not told from the best"
                                                          : "the best",
                       text);
  }
  for (const std::string& mark : cell.marks) text += (text.empty() ? "" : " ") + html_text(mark);
  return "<td>" + text + "</td>";
}

std::string to_html(const Table& table, const TableStyle&) {
  const std::string title = table.title.empty() ? table.name : table.title;
  std::string text = fmt::format(
      "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width\">\n<title>{0}</title>\n"
      "<style>{1}</style>\n</head>\n<body>\n<div>\n<table>\n<caption>{0}</caption>\n{2}<tbody>\n",
      html_text(title), kStyle, heads_of(table));
  for (const TableRow& row : table.rows) {
    text += "<tr>";
    for (std::size_t k = 0; k < row.keys.size(); ++k) {
      text += fmt::format("<th scope=\"row\">{}{}</th>", html_text(row.keys[k]),
                          k == 0 && row.dagger ? " †" : "");
    }
    for (const TableCell& cell : row.cells) text += cell_of(cell);
    text += "</tr>\n";
  }
  text += "</tbody>\n</table>\n</div>\n";
  for (const std::string& note : table.notes) text += "<p>" + html_text(note) + "</p>\n";
  return text + "</body>\n</html>\n";
}

TANDEM_REGISTERED = declare_table_writer({"html", ".html", to_html});

}  // namespace
}  // namespace tandem
