"""What the cells of a table mean: text marks of spreadsheets, telephone numbers, consent, emptied fields.

**Text marks.** Spreadsheets keep digits as text by an apostrophe in front, `'00042`, or by a formula, `="00042"`.
Neither is content. A formula of this form is its text in every field. An apostrophe in front is a mark

- in every field, before text that a spreadsheet would execute (`'=1+1`, `'+31 20`, `'@home`), and before more
  apostrophes and a digit (`''90s`): the safe CSV export writes such cells, and reading takes its mark off again;
- before a digit in identifiers, postal codes, telephone numbers and the like (`CODES`);
- in custom fields, before digits and nothing else but signs between them (`'01001`, `'2026-01-31`).

Everywhere else it is content: `'t Hart`, `'s-Gravenhage`, `'90s Radio` as a name.

**Error values** of spreadsheets, such as `#N/A`, are refused in every field.

**Consent** that the user has mapped takes a closed list of words (`cell.WORDS`); every other word is refused.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from contact_ingest.errors import Refused
from contact_ingest.model.cell import CellKind, DateOrder, convert, is_rounded, marked
from contact_ingest.model.failure_codes import FailureCode
from contact_ingest.model.identity import IDENTIFIERS
from contact_ingest.model.record import CONSENT
from contact_ingest.sources.names import safe_label
from contact_ingest.sources.phones import PHONE_FIELDS, PhoneParser
from contact_ingest.sources.rows import SourceError

CUSTOM: Final = "custom_fields"
LISTS: Final = "mailing_lists"
LIST_PREFIX: Final = LISTS + "."
#: Consent fields that one cell says, and what each takes.
CONSENT_KINDS: Mapping[str, CellKind] = {"subscribed": "boolean", "opt_in": "opt_in"}
#: Fields whose text consists of codes. A number that a spreadsheet has rounded is refused in these.
#: An apostrophe before a digit is a text mark there. An e-mail address is no code, and may begin with an apostrophe.
CODES = frozenset({*IDENTIFIERS, *PHONE_FIELDS, "postal_code", "whatsapp", "line", "facebook", "unique_name"}) - {
    "email"
}
#: Neutral fields that hold a list.
LIST_FIELDS = ("alternate_emails",)

#: First characters of cells that may have a text mark.
_MARKS = frozenset("'=")
#: The same, and that of error values.
_LOOKED_AT = _MARKS | {"#"}
# Error values of spreadsheets, in every field. A row of # stands for what did not fit into its column.
# Source: CellError in [MS-EXSPWS3] (Excel), the data type Error of sheets.wiki (Google Sheets), checked 2026-11-25.
_ERROR_VALUE = re.compile(
    r"#(?:N/A|(?:REF|VALUE|DIV/0|NULL|NUM|ERROR)!|NAME\?|GETTING_DATA|#{3,})", re.IGNORECASE
).fullmatch
# Any text of this form, for codes: spreadsheets write error values in their user's language, as #BEZUG! or #N/D.
_ERROR_CODE = re.compile(r"#(?:NV|N/[A-Z]|[^\s#]+[!?])", re.IGNORECASE).fullmatch
_BEGINS_FORMULA = frozenset("=+-@\uff1d\uff0b\uff0d\uff20\u2212\ufe62\ufe63\ufe66\ufe6b")
_BREAKS = frozenset("\t\r\n")
_QUOTES = frozenset("\"'`")
_MARKS_BEFORE_DIGIT = re.compile(r"'+[0-9]").match
_DIGITS_ALONE = re.compile(r"'[0-9][0-9 .,:/()+-]*").fullmatch
_TEXT_FORMULA = re.compile(r'="((?:[^"]|"")*)"').fullmatch
_ERROR_RULE = (
    "is an error value of a spreadsheet (such as #N/A, #REF! or ####), not content: "
    "correct the formula, or widen the column, and export it again"
)
_ROUNDED_CODE = (
    "a spreadsheet has rounded this number (as in 7.01235E+12), and its other digits are gone: "
    "format the column as text and export it again"
)


def needs_mark(cell: str) -> bool:
    """Whether a spreadsheet could execute the cell, or would take an apostrophe in front of a digit for a mark.

    Such cells begin with = + - @ (or their full-width forms, which some spreadsheets take for the same), a tab, a
    carriage return or a line feed, also behind blanks, quotes or invisible characters.
    Source: OWASP, "CSV Injection", checked 2026-11-22.
    """
    for char in cell:
        if char in _BEGINS_FORMULA or char in _BREAKS:
            return True
        if not (char.isspace() or char in _QUOTES or unicodedata.category(char) in ("Cc", "Cf", "Zs")):
            break
    return _MARKS_BEFORE_DIGIT(cell) is not None


def without_mark(field: str, cell: str) -> str:
    """The content of a cell. `field` is a neutral field, or `custom_fields.NAME`."""
    if cell.startswith("'"):
        rest = cell[1:]
        if field in CODES:
            return rest if needs_mark(cell) else cell
        is_number = field.startswith(CUSTOM) and _DIGITS_ALONE(cell) is not None
        return rest if is_number or needs_mark(rest) else cell
    formula = _TEXT_FORMULA(cell)
    return cell if formula is None else formula[1].replace('""', '"').strip()


@dataclass(frozen=True, slots=True)
class CellOptions:
    """How cells are read.

    `problem` says of a field why no cell can ever fill it, or empty text (`custom_fields.NAME` is a custom field).
    `clear` is the text of a cell that empties its field, and `cleared` the value that does it in a record. `dates` is
    the order of day and month.
    """

    problem: Callable[[str], str] = lambda _field: ""
    clear: str | None = None
    cleared: object = None
    dates: DateOrder | None = None

    def check(self, columns: Mapping[str, str]) -> None:
        """Raise `SourceError` for a column whose cells can never be sent. `columns` is {field: column}."""
        if LISTS in columns and any(field.startswith(LIST_PREFIX) for field in columns):
            raise SourceError(f"column '{columns[LISTS]}'", f"{LISTS} has all lists: map either it or single lists")
        for field, column in columns.items():
            if problem := self.problem(field):
                raise SourceError(
                    f"column '{column}'",
                    f"{field}: {problem}. Map the column to another field with --map '{column}=FIELD', "
                    f"or leave it out with --map '{column}='",
                )


class CellReader:
    """Turns the text of a row's cells into values, in place."""

    def __init__(self, options: CellOptions, phones: PhoneParser) -> None:
        self._clear, self._cleared, self._dates = options.clear, options.cleared, options.dates
        self._options, self._phones = options, phones
        self.problem = options.problem
        #: Fields of the file whose every cell has to be looked at.
        self._special: frozenset[str] = frozenset()

    def take_columns(self, columns: Mapping[str, str]) -> None:
        """Note the columns of the file, {field: column}. Raises `SourceError` if one of them can never be sent."""
        self._options.check(columns)
        always = {CUSTOM, LISTS, *LIST_FIELDS, *CODES, *CONSENT_KINDS}
        self._special = frozenset(always | {field for field in columns if field.startswith(LIST_PREFIX)})

    def read(self, record: dict[str, Any]) -> None:
        """`record` is {field: text}, a list of texts for a list field, {name: text} for custom fields.

        An entry of a map may also come as `mailing_lists.ID`. Raises `Refused` with the first field that is wrong; all
        other fields have been read then.
        """
        wrong: Refused | None = None
        clear, special = self._clear, self._special
        odd = [
            field
            for field, text in record.items()
            if field in special or (type(text) is str and (text[0] in _LOOKED_AT or text == clear))
        ]
        for field in odd:
            try:
                self._read_field(record, field, record[field])
            except Refused as refused:
                wrong = wrong or refused
        if wrong is not None:
            raise wrong

    def _read_field(self, record: dict[str, Any], field: str, value: Any) -> None:
        if field == CUSTOM:
            self._read_custom(record)
        elif field in LIST_FIELDS:
            is_emptied = value == [self._clear]
            record[field] = self._emptied(field) if is_emptied else [without_mark(field, item) for item in value]
            if not is_emptied:
                _check_value(field, record[field])
        elif field.startswith(LIST_PREFIX):
            self._read_list_cell(record, field, value)
        elif value == self._clear:
            record[field] = self._emptied(field)
        elif text := without_mark(field, value):
            record[field] = text
            self._read_text(record, field, text)
        else:
            del record[field]

    def _read_custom(self, record: dict[str, Any]) -> None:
        custom, clear, dates = record[CUSTOM], self._clear, self._dates
        wrong = ""
        for name, text in list(custom.items()):
            if text == clear:
                custom[name] = self._cleared
            elif content := without_mark(CUSTOM, text) if text[0] in _MARKS else text:
                custom[name] = marked(content, dates)
                if content[0] == "#" and not wrong and is_error_value(content):
                    wrong = name
            else:
                del custom[name]
        if not custom:
            del record[CUSTOM]
        if wrong:
            raise Refused(f"{CUSTOM}.{wrong}", _ERROR_RULE, FailureCode.INVALID)

    def _read_list_cell(self, record: dict[str, Any], field: str, value: str) -> None:
        """A cell of one mailing list, `mailing_lists.ID`. A refused cell is in its place as text: {"ID": "maybe"}."""
        del record[field]
        if text := without_mark(field, value):
            lists, list_id = record.setdefault(LISTS, {}), field.removeprefix(LIST_PREFIX)
            lists[list_id] = text
            if value == self._clear:
                self._emptied(field)
            _check_text(field, text)
            lists[list_id] = convert(field, text, "boolean", None)

    def _read_text(self, record: dict[str, Any], field: str, text: str) -> None:
        _check_text(field, text)
        if field in CODES:
            if field in PHONE_FIELDS:
                record[field] = self._phones.to_e164(field, text.lstrip("'"))
        elif field in CONSENT_KINDS:
            record[field] = convert(field, text, CONSENT_KINDS[field], None)
        elif field == LISTS:
            record[LISTS] = _all_lists(text)

    def _emptied(self, field: str) -> object:
        if field in IDENTIFIERS:
            raise Refused(field, "is an identifier and cannot be emptied", FailureCode.EMPTY)
        if field.partition(".")[0] in CONSENT:
            raise Refused(field, "is consent and cannot be emptied: say yes or no", FailureCode.EMPTY)
        return self._cleared


def read_given_back(record: dict[str, Any]) -> None:
    """Read the text of a record that a rejects file gives back, in place. Raises `Refused` as for cells of a table.

    A refused cell of consent is text there: {"subscribed": "maybe", "mailing_lists": {"cl1": "no"}}.
    """
    for field, value in record.items():
        _check_value(field, value)
    for field, kind in CONSENT_KINDS.items():
        if isinstance(text := record.get(field), str) and text:
            record[field] = convert(field, text, kind, None)
    lists = record.get(LISTS)
    if isinstance(lists, dict):
        for list_id, word in lists.items():
            if isinstance(word, str):
                lists[list_id] = convert(safe_label(LIST_PREFIX + list_id), word, "boolean", None)
    elif isinstance(lists, str) and lists:
        record[LISTS] = _all_lists(lists)


def is_error_value(text: str) -> bool:
    """Whether a spreadsheet has put an error value in the place of content: `#N/A`, `#REF!`, `####`."""
    return text.startswith("#") and _ERROR_VALUE(text) is not None


def _check_text(field: str, text: str) -> None:
    """Raise `Refused` for text that a spreadsheet has put in the place of content."""
    is_code = field in CODES or field == "email"
    if is_error_value(text) or (is_code and text.startswith("#") and _ERROR_CODE(text) is not None):
        raise Refused(field, _ERROR_RULE, FailureCode.INVALID)
    if field in CODES and is_rounded(text):
        raise Refused(field, _ROUNDED_CODE, FailureCode.INVALID)


def _check_value(field: str, value: Any) -> None:
    """`_check_text` for a text, for each text of a list, and for each text of a map."""
    entries = [(field, value)]
    if isinstance(value, list):
        entries = [(field, item) for item in value]
    elif isinstance(value, dict):
        entries = [(safe_label(f"{field}.{name}"), item) for name, item in value.items()]
    for name, text in entries:
        if isinstance(text, str):
            _check_text(name, text)


def _all_lists(text: str) -> dict[str, Any]:
    """A cell of all mailing lists, as an export writes them: `{"ID": true}`."""
    try:
        lists = orjson.loads(text)
    except orjson.JSONDecodeError:
        lists = None
    if not isinstance(lists, dict):
        raise Refused(
            LISTS,
            "a cell says yes or no for one list: map its column to mailing_lists.ID. An exported cell has all lists",
            FailureCode.WRONG_TYPE,
        )
    return lists
