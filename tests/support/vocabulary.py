"""Words, names and texts that composed repositories are made of."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

_WORDS = (
    "alpha amber anvil apple arrow atlas aurora autumn badge bamboo barrel basil beacon birch "
    "bison blade bloom bonfire branch breeze bridge bronze brook cable cactus camera candle "
    "canvas canyon carbon cargo castle cedar chalk channel cherry circle clover cobalt comet "
    "compass copper coral cotton crane crystal cursor dagger daisy delta desert diamond dolphin "
    "dragon eagle echo eclipse ember engine falcon feather fern filter flame flint forest forge "
    "fossil fountain galaxy garden garnet glacier globe granite gravel hammer harbor hazel helium "
    "heron hollow horizon hunter icon indigo iron island ivory jacket jasmine jasper jungle "
    "kernel kettle lagoon lantern laser lemon lens lily linen lotus lunar magnet maple marble "
    "matrix meadow melody mercury meteor mirror mist mortar mosaic needle nickel nova oasis ocean "
    "olive onyx opal orbit orchid oxide paddle panel parrot pebble pepper phoenix pilot pine "
    "pixel plasma pocket polar prism pulse quartz quill radar raven reef ribbon ridge river robin "
    "rocket ruby saddle saffron salmon sapphire scale shadow shell signal silver socket solar "
    "spark spiral spring stone storm summit sunset table tango temple thunder tiger timber topaz "
    "tower tulip tunnel turbine valley vector velvet violet vortex walnut wave willow winter wolf "
    "zenith zephyr"
)
_CYRILLIC_WORDS = (
    "документация перевод сборка обновление исправление библиотека утилита пакет версия каталог "
    "система набор данные шрифты модуль проверка поддержка настройки сервер клиент"
)
_GROUPS = (
    "System/Libraries Development/C Development/Python3 Development/Perl Documentation "
    "Games/Puzzles Graphics Networking/Other Sound System/Servers Text_tools Other Office"
)
WORDS = tuple(_WORDS.split())
CYRILLIC_WORDS = tuple(_CYRILLIC_WORDS.split())
GROUPS = tuple(group.replace("_", " ") for group in _GROUPS.split())
LICENSES = (
    "GPL-2.0-or-later",
    "LGPL-2.1-or-later",
    "MIT",
    "BSD-3-Clause",
    "Apache-2.0",
    "GPLv2+",
    "Artistic-1.0-Perl OR GPL-1.0-or-later",
    "%asl 2.0",
)
LANGUAGES = ("ru", "be", "uk", "de", "fr", "es", "pt_BR", "zh_CN", "ja", "kk", "tt", "ca@valencia")
MAINTAINERS = (
    "Ivan Petrov <ivan@altlinux.org>",
    "Maria Sidorova <masha@altlinux.org>",
    "Pavel K. Lesnoy <lesnoy@altlinux.org>",
    "Anna-Luise O'Neil <anna@altlinux.org>",
    "Иван Кузнецов <kuznets@altlinux.org>",
    "Perl Maintainers Team <perl@packages.altlinux.org>",
    "Python Maintainers Team <python@packages.altlinux.org>",
    '"Dmitry Orlov" <orlov@altlinux.org>',
    "Nikita Belov (nik) <nik at altlinux.org>",
    "Repocop Q. A. Robot <repocop@altlinux.org>",
)
_CHANGES = (
    "New version.",
    "Updated to {version}.",
    "Rebuilt with new lib{word}.",
    "Fixed build with gcc{number}.",
    "Fixed FTBFS (closes: #{bug}).",
    "Fixes: CVE-{year}-{bug}",
    "Dropped obsolete patch {word}-fix-{number}.",
    "Packaged {word} plugin.",
    "Updated BuildRequires.",
    "Moved {word} to a separate subpackage.",
    "Собрано с новой версией {word} (Closes: {bug}).",
    "Добавлен перевод, исправлена проверка {word}.",
    "[{year}-{number}] {word}: use system {word}",
)
_PREFIXES = (
    "",
    "",
    "",
    "",
    "lib",
    "perl-",
    "python3-module-",
    "gem-",
    "node-",
    "golang-",
    "fonts-",
)
_SUFFIXES = ("", "", "", "", "", "2", "+", "-ng", "4.2", "-utils", "_x", "++")
_DAY = 86_400
_STRIDE = 7_919


def source_name(number: int) -> str:
    """Name of the source package of that number; no two numbers give the same."""
    count = len(WORDS)
    spread = number * _STRIDE % (count * count)
    first, second = WORDS[spread % count], WORDS[spread // count]
    again = number // (count * count)
    mixed = (number * 2_654_435_761) >> 7
    prefix = _PREFIXES[mixed % len(_PREFIXES)]
    suffix = _SUFFIXES[mixed // 16 % len(_SUFFIXES)]
    middle = f"{first}-{second}" if mixed & 1024 else f"{first}{second.title()}"
    return f"{prefix}{middle}{again or ''}{suffix}"


def pick(rng: Random, items: Sequence[str]) -> str:
    """One of the items; several times as fast as choice()."""
    return items[int(rng.random() * len(items))]


def sentence(rng: Random, words: int) -> str:
    """Some words that end in a full stop, now and then in Cyrillic."""
    source = CYRILLIC_WORDS if rng.random() < 0.1 else WORDS
    text = " ".join([pick(rng, source) for _ in range(words)])
    return text[:1].upper() + text[1:] + "."


def paragraphs(rng: Random, lines: int) -> str:
    """Lines of sentences, no line end after the last."""
    return "\n".join([sentence(rng, 5 + int(rng.random() * 6)) for _ in range(lines)])


def changelog_text(rng: Random, version: str) -> str:
    """What one changelog entry says: mostly a line, sometimes several."""
    lines = 1 if rng.random() < 0.65 else 2 + int(rng.random() ** 3 * 12)
    return "\n".join(["- " + _change(rng, version) for _ in range(lines)])


def _change(rng: Random, version: str) -> str:
    return pick(rng, _CHANGES).format(
        version=version,
        word=pick(rng, WORDS),
        number=1 + int(rng.random() * 14),
        bug=10_000 + int(rng.random() * 40_000),
        year=2005 + int(rng.random() * 18),
    )


def noon(time: int) -> int:
    """12:00 UTC of the day, which is what changelogs record."""
    return time - time % _DAY + _DAY // 2
