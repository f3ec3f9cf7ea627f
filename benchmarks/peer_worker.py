"""Run in the peers' environment: one method on one problem.  Imports nothing of mimicme.

    python peer_worker.py menpo3d|trimesh PROBLEM.npz RESULT.npz

PROBLEM.npz: template (V, 3), template_faces, template_landmarks (68, 3), scan (n, 3), scan_faces, landmarks
(68, 3), mm, the scan in the template's frame.  RESULT.npz: vertices (V, 3) and cpu_s, the seconds of the method alone.
"""

from __future__ import annotations

import sys
import time
import warnings
from typing import Any

import numpy as np


def menpo3d(problem: Any) -> Any:
    """`non_rigid_icp` with its default weights, which end without landmarks."""
    from menpo.shape import PointCloud, TriMesh
    from menpo3d.correspond import non_rigid_icp

    template = TriMesh(problem["template"], problem["template_faces"])
    scan = TriMesh(problem["scan"], problem["scan_faces"])
    known = np.isfinite(problem["landmarks"]).all(axis=1)
    template.landmarks["points"] = PointCloud(problem["template_landmarks"][known])
    scan.landmarks["points"] = PointCloud(problem["landmarks"][known])
    began = time.process_time()
    found = non_rigid_icp(template, scan, landmark_group="points")
    return found.points, time.process_time() - began


def trimesh(problem: Any) -> Any:
    """`nricp_amberg` with its default steps."""
    from scipy.spatial import cKDTree
    from trimesh import Trimesh  # type: ignore[import-not-found]
    from trimesh.registration import nricp_amberg  # type: ignore[import-not-found]

    template = Trimesh(problem["template"], problem["template_faces"], process=False)
    scan = Trimesh(problem["scan"], problem["scan_faces"], process=False)
    known = np.isfinite(problem["landmarks"]).all(axis=1)
    nearest = cKDTree(problem["template"]).query(problem["template_landmarks"][known])[1]
    began = time.process_time()
    found = nricp_amberg(
        template, scan, source_landmarks=nearest, target_positions=problem["landmarks"][known]
    )
    return np.asarray(found), time.process_time() - began


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    method, source, result = sys.argv[1:]
    with np.load(source) as stored:
        given = {name: stored[name] for name in stored.files}
    vertices, seconds = {"menpo3d": menpo3d, "trimesh": trimesh}[method](given)
    np.savez(result, vertices=vertices, cpu_s=seconds)
