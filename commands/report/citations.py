"""What a paper has to cite, as BibTeX; each is named in the docstring of the stage that it belongs to.

DOIs, pages and authors are those of published records (of publishers, libraries, authors), compared one by one.
"""

from __future__ import annotations

from typing import NamedTuple


class Citation(NamedTuple):
    """An entry: its key, how it is named in a text, and its fields."""

    key: str
    kind: str
    said: str
    fields: dict[str, str]

    @property
    def bibtex(self) -> str:
        lines = [f"  {name} = {{{value}}}" for name, value in self.fields.items()]
        return f"@{self.kind}{{{self.key},\n" + ",\n".join(lines) + "\n}"


MIMICME = Citation(
    "papaioannou2022mimicme",
    "inproceedings",
    "Papaioannou et al., 2022",
    {
        "author": "Papaioannou, Athanasios and Gecer, Baris and Cheng, Shiyang and Chrysos, Grigorios and Deng, "
        "Jiankang and "
        "Fotiadou, Eftychia and Kampouris, Christos and Kollias, Dimitrios and Moschoglou, Stylianos and "
        "Songsri-In, Kritaphat "
        "and Ploumpis, Stylianos and Trigeorgis, George and Tzirakis, Panagiotis and Ververas, Evangelos and Zhou, "
        "Yuxiang and "
        "Ponniah, Allan and Roussos, Anastasios and Zafeiriou, Stefanos",
        "title": "{MimicME}: A Large Scale Diverse {4D} Database for Facial Expression Analysis",
        "booktitle": "Computer Vision -- ECCV 2022",
        "series": "Lecture Notes in Computer Science",
        "pages": "467--484",
        "year": "2022",
        "doi": "10.1007/978-3-031-20074-8_27",
    },
)
AMBERG = Citation(
    "amberg2007optimal",
    "inproceedings",
    "Amberg et al., 2007",
    {
        "author": "Amberg, Brian and Romdhani, Sami and Vetter, Thomas",
        "title": "Optimal Step Nonrigid {ICP} Algorithms for Surface Registration",
        "booktitle": "IEEE Conference on Computer Vision and Pattern Recognition (CVPR)",
        "year": "2007",
        "doi": "10.1109/CVPR.2007.383165",
    },
)
BESL = Citation(
    "besl1992method",
    "article",
    "Besl and McKay, 1992",
    {
        "author": "Besl, Paul J. and McKay, Neil D.",
        "title": "A Method for Registration of {3-D} Shapes",
        "journal": "IEEE Transactions on Pattern Analysis and Machine Intelligence",
        "volume": "14",
        "number": "2",
        "pages": "239--256",
        "year": "1992",
        "doi": "10.1109/34.121791",
    },
)
CHEN = Citation(
    "chen1991object",
    "inproceedings",
    "Chen and Medioni, 1991",
    {
        "author": "Chen, Yang and Medioni, G{\\'e}rard",
        "title": "Object Modeling by Registration of Multiple Range Images",
        "booktitle": "IEEE International Conference on Robotics and Automation",
        "pages": "2724--2729",
        "year": "1991",
        "doi": "10.1109/ROBOT.1991.132043",
    },
)
SAGONAS = Citation(
    "sagonas2016faces",
    "article",
    "Sagonas et al., 2016",
    {
        "author": "Sagonas, Christos and Antonakos, Epameinondas and Tzimiropoulos, Georgios and Zafeiriou, "
        "Stefanos and "
        "Pantic, Maja",
        "title": "300 Faces In-The-Wild Challenge: Database and Results",
        "journal": "Image and Vision Computing",
        "volume": "47",
        "pages": "3--18",
        "year": "2016",
        "doi": "10.1016/j.imavis.2016.01.002",
    },
)
FISCHLER = Citation(
    "fischler1981random",
    "article",
    "Fischler and Bolles, 1981",
    {
        "author": "Fischler, Martin A. and Bolles, Robert C.",
        "title": "Random Sample Consensus: A Paradigm for Model Fitting with Applications to Image Analysis and "
        "Automated "
        "Cartography",
        "journal": "Communications of the ACM",
        "volume": "24",
        "number": "6",
        "pages": "381--395",
        "year": "1981",
        "doi": "10.1145/358669.358692",
    },
)
UMEYAMA = Citation(
    "umeyama1991least",
    "article",
    "Umeyama, 1991",
    {
        "author": "Umeyama, Shinji",
        "title": "Least-Squares Estimation of Transformation Parameters Between Two Point Patterns",
        "journal": "IEEE Transactions on Pattern Analysis and Machine Intelligence",
        "volume": "13",
        "number": "4",
        "pages": "376--380",
        "year": "1991",
        "doi": "10.1109/34.88573",
    },
)
BEELER = Citation(
    "beeler2014rigid",
    "article",
    "Beeler and Bradley, 2014",
    {
        "author": "Beeler, Thabo and Bradley, Derek",
        "title": "Rigid Stabilization of Facial Expressions",
        "journal": "ACM Transactions on Graphics",
        "volume": "33",
        "number": "4",
        "year": "2014",
        "doi": "10.1145/2601097.2601182",
    },
)
LUCAS = Citation(
    "lucas1981iterative",
    "inproceedings",
    "Lucas and Kanade, 1981",
    {
        "author": "Lucas, Bruce D. and Kanade, Takeo",
        "title": "An Iterative Image Registration Technique with an Application to Stereo Vision",
        "booktitle": "International Joint Conference on Artificial Intelligence (IJCAI)",
        "pages": "674--679",
        "year": "1981",
    },
)
KARTYNNIK = Citation(
    "kartynnik2019realtime",
    "misc",
    "Kartynnik et al., 2019",
    {
        "author": "Kartynnik, Yury and Ablavatski, Artsiom and Grishchenko, Ivan and Grundmann, Matthias",
        "title": "Real-time Facial Surface Geometry from Monocular Video on Mobile {GPUs}",
        "year": "2019",
        "eprint": "1907.06724",
        "archiveprefix": "arXiv",
    },
)
PAULSEN = Citation(
    "paulsen2019multiview",
    "inproceedings",
    "Paulsen et al., 2019",
    {
        "author": "Paulsen, Rasmus R. and Juhl, Kristine Aavild and Haspang, Thilde Marie and Hansen, Thomas and "
        "Ganz, Melanie "
        "and Einarsson, Gudmundur",
        "title": "Multi-view Consensus {CNN} for {3D} Facial Landmark Placement",
        "booktitle": "Computer Vision -- ACCV 2018",
        "series": "Lecture Notes in Computer Science",
        "volume": "11361",
        "pages": "706--719",
        "year": "2019",
        "doi": "10.1007/978-3-030-20887-5_44",
    },
)
