// The viewer: frames as 3D in a page.  Data come from the page itself or from the loopback server; see page.py.
"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const given = JSON.parse($("data").textContent);
  const began = performance.now();
  const KEPT = 24; // frames that stay unpacked
  const PLAY_MS = 1000 / 12;
  const GRAB_PX = 14;
  const FACE_ASPECT = 0.8;

  // -- payloads, as payload.py packs them

  async function unpack(bytes) {
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    const buffer = await new Response(stream).arrayBuffer();
    const length = new DataView(buffer).getUint32(0, true);
    const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
    const found = { about: header.about };
    for (const [name, part] of Object.entries(header.parts)) found[name] = decoded(buffer, 4 + length, part);
    return found;
  }

  const KINDS = { u1: Uint8Array, u2: Uint16Array, i2: Int16Array, u4: Uint32Array, f4: Float32Array };

  function decoded(buffer, start, part) {
    const Kind = KINDS[part.type];
    const count = part.shape.reduce((a, b) => a * b, 1);
    const size = Kind.BYTES_PER_ELEMENT;
    let bytes = new Uint8Array(buffer, start + part.offset, count * size);
    if (part.planes && size > 1) {
      const joined = new Uint8Array(count * size);
      for (let k = 0; k < size; k++) for (let i = 0; i < count; i++) joined[i * size + k] = bytes[k * count + i];
      bytes = joined;
    } else bytes = bytes.slice();
    const values = new Kind(bytes.buffer);
    // typed arrays take sums modulo their range
    if (part.differences) for (let i = 1; i < count; i++) values[i] += values[i - 1];
    return values;
  }

  function fromBase64(text) {
    const raw = atob(text.trim());
    const bytes = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
    return bytes;
  }

  async function ask(path, body, version) {
    const options = { headers: { "X-Token": given.token }, cache: "no-store" };
    if (version) options.headers["If-None-Match"] = version;
    if (body) {
      options.method = "POST";
      options.headers["Content-Type"] = "application/json";
      options.body = JSON.stringify(body);
    }
    let answer;
    try {
      answer = await fetch(path, options);
    } catch (error) {
      throw new Error("The viewer's server does not answer: `mimicme view` has ended. Begin it again, and open the address that it prints.");
    }
    if (!answer.ok && answer.status !== 304) throw new Error((await answer.text()).slice(0, 500) || `status ${answer.status}`);
    return answer;
  }

  const store = given.token
    ? {
        template: async () => (await ask("/template")).arrayBuffer(),
        shapes: async () => (await ask("/shapes")).arrayBuffer(),
        sequence: async (place) => (await ask(`/sequence/${place}`)).json(),
        // bytes: null where they are of the version that is known
        frame: async (place, row, known) => {
          const answer = await ask(`/frame/${place}/${row}`, null, known);
          return { version: answer.headers.get("ETag"), bytes: answer.status === 304 ? null : await answer.arrayBuffer() };
        },
      }
    : {
        template: async () => fromBase64($("template").textContent),
        shapes: async () => fromBase64($("shapes-data").textContent),
        sequence: async () => ({ ...given.sequence, version: "" }),
        frame: async (place, row, known) => ({ version: "", bytes: known === null ? fromBase64($(`frame-${row}`).textContent) : null }),
      };

  // -- what is drawn

  function bySoftware() {
    // whether no graphics card draws: smooth edges would cost half of the time then
    const probe = document.createElement("canvas").getContext("webgl2");
    const about = probe && probe.getExtension("WEBGL_debug_renderer_info");
    return Boolean(about) && /swiftshader|llvmpipe|software/i.test(probe.getParameter(about.UNMASKED_RENDERER_WEBGL));
  }

  let renderer;
  const software = bySoftware();
  try {
    renderer = new THREE.WebGLRenderer({ canvas: $("canvas"), antialias: !software, preserveDrawingBuffer: true });
  } catch (error) {
    say("This browser draws no WebGL, which the viewer needs. Software rendering will do.");
    return;
  }
  renderer.setPixelRatio(software ? 1 : Math.min(window.devicePixelRatio, 2));
  renderer.autoClear = false;
  const scene = new THREE.Scene();
  const camera = new THREE.PerspectiveCamera(25, 1, 1, 5000);
  const light = new THREE.DirectionalLight(0xffffff, 0.75);
  camera.add(light);
  light.position.set(0.3, 0.5, 1);
  scene.add(camera, new THREE.AmbientLight(0xffffff, 0.35));

  const materials = {
    texture: new THREE.MeshBasicMaterial({ side: THREE.DoubleSide }),
    shaded: new THREE.MeshLambertMaterial({ color: 0xd0c6bb, side: THREE.DoubleSide }),
    error: new THREE.MeshLambertMaterial({ vertexColors: true, side: THREE.DoubleSide }),
    colors: new THREE.MeshBasicMaterial({ vertexColors: true, side: THREE.DoubleSide }),
    wire: new THREE.MeshBasicMaterial({ color: 0x202020, wireframe: true, transparent: true, opacity: 0.35 }),
    over: new THREE.MeshLambertMaterial({ color: 0x5b8ab8, side: THREE.DoubleSide, transparent: true, opacity: 0.5 }),
  };
  materials.wire.polygonOffset = true;
  materials.wire.polygonOffsetFactor = -1;
  const bodies = {};
  for (const name of ["mesh", "scan"]) {
    const geometry = new THREE.BufferGeometry();
    const surface = new THREE.Mesh(geometry, materials.shaded);
    const wire = new THREE.Mesh(geometry, materials.wire);
    surface.frustumCulled = wire.frustumCulled = false;
    const group = new THREE.Group();
    group.add(surface, wire);
    scene.add(group);
    bodies[name] = { geometry, surface, wire, group, there: false };
  }
  const dots = new THREE.Points(
    new THREE.BufferGeometry(),
    new THREE.PointsMaterial({ size: 7, sizeAttenuation: false, vertexColors: true, depthTest: false })
  );
  dots.frustumCulled = false;
  dots.renderOrder = 5;
  scene.add(dots);

  let template = null;
  let sequence = null;
  let place = given.place;
  let row = 0;
  let shown = null;
  let shownRow = null;
  let wanted = 0;
  let opening = 0;
  const emptyShelf = () => ({ kept: new Map(), asked: new Map() });
  let frames = emptyShelf(); // of the sequence that is shown
  let picture = null; // that the texture was made of
  let told = ""; // the frame whose reason stands in its field
  const options = { layout: "mesh", surface: "texture", wire: false, marks: false, edit: false };
  const edits = new Map(); // points moved and not yet saved, by number, by place and row
  const timing = { ready_ms: null };

  function measure() {
    // ms of one picture; reading a pixel waits until it is drawn, which `finish` does not
    const began = performance.now();
    paint();
    const gl = renderer.getContext();
    gl.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array(4));
    return performance.now() - began;
  }
  window.viewer = { timing, options, measure, positions: () => Array.from(bodies.mesh.geometry.getAttribute("position").array), state: () => ({ place, row, number: sequence && sequence.frames[row].number }) };

  function attribute(geometry, name, values, size, normalized = false) {
    const old = geometry.getAttribute(name);
    if (old && old.array.length === values.length && old.array.constructor === values.constructor) {
      old.array.set(values);
      old.needsUpdate = true;
    } else geometry.setAttribute(name, new THREE.BufferAttribute(values, size, normalized));
  }

  function normalsOf(points, faces) {
    // (n, 3) of vertices, not of corners: no seam is seen where the texture is cut
    const normals = new Float32Array(points.length);
    for (let i = 0; i < faces.length; i += 3) {
      const a = 3 * faces[i], b = 3 * faces[i + 1], c = 3 * faces[i + 2];
      const ux = points[b] - points[a], uy = points[b + 1] - points[a + 1], uz = points[b + 2] - points[a + 2];
      const vx = points[c] - points[a], vy = points[c + 1] - points[a + 1], vz = points[c + 2] - points[a + 2];
      const nx = uy * vz - uz * vy, ny = uz * vx - ux * vz, nz = ux * vy - uy * vx;
      for (const k of [a, b, c]) { normals[k] += nx; normals[k + 1] += ny; normals[k + 2] += nz; }
    }
    for (let k = 0; k < normals.length; k += 3) {
      const length = Math.hypot(normals[k], normals[k + 1], normals[k + 2]) || 1;
      normals[k] /= length; normals[k + 1] /= length; normals[k + 2] /= length;
    }
    return normals;
  }

  function spread(values, size) {
    // from vertices to the corners that are drawn
    const out = new values.constructor(template.vertex.length * size);
    for (let i = 0; i < template.vertex.length; i++)
      for (let k = 0; k < size; k++) out[i * size + k] = values[template.vertex[i] * size + k];
    return out;
  }

  function errorColors(errors) {
    const top = given.error_top_mm / given.error_step_mm;
    const out = new Uint8Array(errors.length * 3);
    for (let i = 0; i < errors.length; i++) {
      const at = 3 * Math.min(255, Math.round((255 * errors[i]) / top));
      const known = errors[i] !== 255;
      for (let k = 0; k < 3; k++) out[3 * i + k] = known ? given.colors[at + k] : 205;
    }
    return out;
  }

  async function prepared(payload) {
    // everything of a frame that does not depend on what is shown
    const data = await unpack(payload);
    const step = template.about.step_mm;
    if (data.mesh) {
      const points = new Float32Array(template.rest.length);
      const added = new Int16Array(data.mesh.buffer);
      for (let i = 0; i < points.length; i++) points[i] = (template.rest[i] + added[i]) * step;
      data.points = spread(points, 3);
      data.normals = spread(normalsOf(points, template.vertexFaces), 3);
      if (data.errors) data.errorColors = spread(errorColors(data.errors), 3);
    }
    if (data.scan) {
      data.scanPoints = Float32Array.from(data.scan, (v) => v * step);
      data.scanNormals = normalsOf(data.scanPoints, data.scan_faces);
      if (data.scan_errors) data.scanErrorColors = errorColors(data.scan_errors);
    }
    if (data.picture) {
      const blob = new Blob([data.picture], { type: "image/jpeg" });
      data.bitmap = await createImageBitmap(blob, { imageOrientation: "flipY" });
    }
    return data;
  }

  function frameOf(at) {
    const shelf = frames;
    if (!shelf.asked.has(at)) shelf.asked.set(at, fetched(shelf, at).finally(() => shelf.asked.delete(at)));
    return shelf.asked.get(at);
  }

  async function fetched(shelf, at) {
    // a frame, unpacked; kept as long as the files that it is made of stay the same, which is asked each time
    const kept = shelf.kept.get(at);
    const { version, bytes } = await store.frame(place, at, kept ? kept.version : null);
    const data = bytes === null ? kept : Object.assign(await prepared(bytes), { version });
    shelf.kept.set(at, data);
    if (kept && kept !== data) forget(kept);
    for (const old of shelf.kept.keys()) {
      if (shelf.kept.size <= KEPT) break;
      if (Math.abs(old - row) <= KEPT / 3) continue;
      forget(shelf.kept.get(old));
      shelf.kept.delete(old);
    }
    if (shelf === frames && version !== sequence.version) await renewed();
    return data;
  }

  function forget(data) {
    // a picture's memory is given back at once, not when the browser cares to; the one that is drawn stays
    if (data.bitmap && data.bitmap !== picture) data.bitmap.close();
  }

  async function renewed() {
    // a checkpoint has changed since: so may have what is said of the frames
    const at = place, found = await store.sequence(at);
    if (at !== place || found.frames.length !== sequence.frames.length) return;
    sequence = found;
    tell();
  }

  async function go(to) {
    if (!sequence) return;
    row = Math.max(0, Math.min(sequence.frames.length - 1, to));
    $("slider").value = row;
    tell();
    const ticket = ++wanted;
    try {
      const data = await frameOf(row);
      if (ticket !== wanted) return;
      shown = data;
      shownRow = row;
      if (timing.ready_ms === null && !data.points && data.scanPoints) set("layout", "scan");
      fill();
      if (timing.ready_ms === null) timing.ready_ms = performance.now() - began;
      if (given.token && row + 1 < sequence.frames.length) frameOf(row + 1).catch(() => {});
    } catch (error) {
      if (ticket === wanted) { shown = null; say(String(error.message || error)); draw(); }
    }
  }

  function fill() {
    const mesh = bodies.mesh, scan = bodies.scan;
    mesh.there = Boolean(shown.points);
    if (mesh.there) {
      attribute(mesh.geometry, "position", shown.points, 3);
      attribute(mesh.geometry, "normal", shown.normals, 3);
      if (shown.errorColors) attribute(mesh.geometry, "color", shown.errorColors, 3, true);
      if (shown.bitmap && picture !== shown.bitmap) {
        const before = picture;
        if (materials.texture.map) materials.texture.map.dispose();
        materials.texture.map = new THREE.Texture(shown.bitmap);
        materials.texture.map.flipY = false;
        materials.texture.map.needsUpdate = true;
        materials.texture.needsUpdate = true;
        picture = shown.bitmap;
        if (before && ![...frames.kept.values()].some((data) => data.bitmap === before)) before.close();
      }
    }
    scan.there = Boolean(shown.scanPoints);
    if (scan.there) {
      scan.geometry.dispose();
      scan.geometry = new THREE.BufferGeometry();
      scan.surface.geometry = scan.wire.geometry = scan.geometry;
      attribute(scan.geometry, "position", shown.scanPoints, 3);
      attribute(scan.geometry, "normal", shown.scanNormals, 3);
      scan.geometry.setIndex(new THREE.BufferAttribute(shown.scan_faces, 1));
    }
    dot();
    draw();
  }

  // -- landmarks

  const moved = () => edits.get(`${place}/${row}`) || {};

  function marks() {
    // what the dots show: while points are corrected those that were given, else those on the scan's surface
    if (!shown) return null;
    return options.edit && shown.given ? [shown.given, shown.given_sources]
      : shown.landmarks ? [shown.landmarks, shown.sources] : null;
  }

  function dot() {
    const known = marks();
    if (!known) return;
    const points = known[0].slice();
    const colors = new Float32Array(points.length);
    known[1].forEach((source, i) => {
      const own = options.edit ? moved()[i] : null;
      new THREE.Color(own ? given.moved : given.sources[source] || given.sources[0]).toArray(colors, 3 * i);
      if (own) points.set(own, 3 * i);
      else if (!source) points[3 * i + 2] = -1e6; // absent: far behind everything
    });
    attribute(dots.geometry, "position", points, 3);
    attribute(dots.geometry, "color", colors, 3);
    $("save").disabled = !Object.keys(moved()).length;
  }

  function pane(event) {
    // where a pointer is: in the part of the picture under it, from -1 to 1, and what is drawn there
    const box = $("canvas").getBoundingClientRect();
    const beside = options.layout === "beside";
    const width = beside ? box.width / 2 : box.width;
    const x = event.clientX - box.left, right = beside && x >= width;
    const names = beside ? [right ? "mesh" : "scan"] : options.layout === "over" ? ["scan", "mesh"] : [options.layout];
    const at = new THREE.Vector2((2 * (x - (right ? width : 0))) / width - 1, 1 - (2 * (event.clientY - box.top)) / box.height);
    return { at, width, height: box.height, names };
  }

  function grabbed(event) {
    // number of the point under the pointer, or null
    const { at, width, height } = pane(event);
    const points = dots.geometry.getAttribute("position");
    let best = null, least = GRAB_PX;
    for (let k = 0; points && k < points.count; k++) {
      const p = new THREE.Vector3().fromBufferAttribute(points, k).project(camera);
      const far = Math.hypot(((p.x - at.x) * width) / 2, ((p.y - at.y) * height) / 2);
      if (p.z < 1 && far < least) [best, least] = [k, far];
    }
    return best;
  }

  function hit(event) {
    // the point of the surface under the pointer, or null; the scan's where it is drawn
    const { at, names } = pane(event);
    const ray = new THREE.Raycaster();
    ray.setFromCamera(at, camera);
    for (const name of names) {
      if (!bodies[name].there) continue;
      // three.js keeps the bounds of what was there before
      bodies[name].geometry.computeBoundingSphere();
      const found = ray.intersectObject(bodies[name].surface, false);
      if (found.length) return found[0].point.toArray();
    }
    return null;
  }

  function move(k, event) {
    // what is still drawn may be another frame's
    const point = shown && shownRow === row ? hit(event) : null;
    if (!point) return;
    const key = `${place}/${row}`;
    edits.set(key, { ...moved(), [k]: point });
    dot();
    draw();
  }

  async function correct(points) {
    if (!sequence) return;
    $("corrected").textContent = "";
    const own = { place, row, item: sequence.name, number: sequence.frames[row].number };
    try {
      const answer = await (await ask("/landmarks", { ...own, moved: points })).json();
      edits.delete(`${own.place}/${own.row}`);
      if (own.place !== place) return;
      sequence = answer;
      if (own.row === row) await go(row);
      $("corrected").textContent = points.length
        ? "Written to corrections; the next run uses it." : "Taken back; the next run goes without it.";
    } catch (error) {
      $("corrected").textContent = `${own.item} frame ${own.number}: ${error.message || error}`;
    }
  }

  // -- shapes that move the mesh

  let shapes = null; // steps_mm and deltas (K, 3, V)
  const weights = [];

  function reshape() {
    // the mesh that the sliders ask for
    if (!shown || !shapes) return;
    const n = template.rest.length / 3, step = template.about.step_mm, added = new Int16Array(shown.mesh.buffer);
    const points = new Float32Array(3 * n);
    for (let i = 0; i < points.length; i++) points[i] = (template.rest[i] + added[i]) * step;
    weights.forEach((weight, k) => {
      if (!weight) return;
      const scale = weight * shapes.about.steps_mm[k];
      for (let axis = 0; axis < 3; axis++) {
        const from = (3 * k + axis) * n;
        for (let i = 0; i < n; i++) points[3 * i + axis] += scale * shapes.deltas[from + i];
      }
    });
    shown.points = spread(points, 3);
    shown.normals = spread(normalsOf(points, template.vertexFaces), 3);
    fill();
  }

  let asked = false;
  function weigh() {
    // once a picture, however fast a slider moves
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => { asked = false; reshape(); });
  }

  const turned = []; // of each shape: its slider is put to a weight

  function makeSliders() {
    window.viewer.weights = weights;
    for (const group of given.shapes) {
      const box = document.createElement("details");
      box.open = true;
      box.appendChild(document.createElement("summary")).textContent = group.title;
      group.names.forEach((name, i) => {
        const k = weights.push(0) - 1;
        const label = box.appendChild(document.createElement("label"));
        label.title = group.notes[i];
        label.appendChild(document.createElement("span")).textContent = name;
        const input = label.appendChild(document.createElement("input"));
        Object.assign(input, { type: "range", min: group.least, max: group.most, step: 0.05, value: 0 });
        const number = label.appendChild(document.createElement("output"));
        const tellWeight = () => { number.textContent = `${weights[k].toFixed(2)}${group.unit && ` ${group.unit}`}`; };
        input.addEventListener("input", () => { weights[k] = Number(input.value); tellWeight(); weigh(); });
        turned.push((weight) => { input.value = weight; weights[k] = Number(input.value); tellWeight(); });
        tellWeight();
      });
      $("sliders").append(box);
    }
  }

  function reset() {
    turned.forEach((turn) => turn(0));
    weigh();
  }

  function chance() {
    // a person who does not exist
    let k = 0;
    for (const group of given.shapes) {
      for (const _ of group.names) {
        const drawn = Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
        turned[k++](group.drawn ? drawn : 0);
      }
    }
    weigh();
  }

  function dress() {
    // the material of each body; a colour that is not there falls back on the shaded surface
    const { surface, layout } = options;
    const mesh = bodies.mesh, scan = bodies.scan;
    mesh.surface.material =
      surface === "texture" && shown.bitmap ? materials.texture
      : surface === "error" && shown.errorColors ? materials.error : materials.shaded;
    const colors = surface === "error" ? shown.scanErrorColors : surface === "texture" ? shown.scan_colors : null;
    if (scan.there && colors) attribute(scan.geometry, "color", colors, 3, true);
    scan.surface.material =
      layout === "over" ? materials.over
      : surface === "error" && colors ? materials.error : colors ? materials.colors : materials.shaded;
    mesh.wire.visible = scan.wire.visible = options.wire;
  }

  const view = { turn: 0, tilt: 0, distance: 600, x: 0, y: 0 };

  function front() {
    Object.assign(view, { turn: 0, tilt: 0, distance: template.about.extent_mm * 1.85, x: 0, y: 0 });
    draw();
  }

  let due = false;
  function draw() {
    if (due) return;
    due = true;
    requestAnimationFrame(paint);
  }

  function paint() {
    due = false;
    const box = $("stage").getBoundingClientRect();
    const size = renderer.getSize(new THREE.Vector2());
    if (size.x !== box.width || size.y !== box.height) renderer.setSize(box.width, box.height, false);
    renderer.setScissorTest(false);
    renderer.setClearColor(0xf2f2f0);
    renderer.clear();
    $("left-name").textContent = $("right-name").textContent = "";
    if (!shown || !template) return;
    dress();
    const beside = options.layout === "beside";
    const width = beside ? box.width / 2 : box.width;
    camera.aspect = width / box.height;
    const distance = view.distance * Math.max(1, FACE_ASPECT / camera.aspect); // a narrow part shows the whole face too
    camera.near = distance / 50;
    camera.far = distance * 20;
    camera.updateProjectionMatrix();
    const direction = new THREE.Vector3(
      Math.sin(view.turn) * Math.cos(view.tilt), Math.sin(view.tilt), Math.cos(view.turn) * Math.cos(view.tilt)
    );
    const right = new THREE.Vector3(Math.cos(view.turn), 0, -Math.sin(view.turn));
    const up = new THREE.Vector3().crossVectors(direction, right);
    const target = right.multiplyScalar(view.x).add(up.multiplyScalar(view.y));
    camera.position.copy(target).addScaledVector(direction, distance);
    camera.up.set(0, 1, 0);
    camera.lookAt(target);
    const parts = beside ? [["scan"], ["mesh"]]
      : [options.layout === "over" ? ["mesh", "scan"] : [options.layout]];
    const missing = [];
    parts.forEach((names, k) => {
      for (const name of ["mesh", "scan"]) bodies[name].group.visible = names.includes(name) && bodies[name].there;
      dots.visible = (options.marks || options.edit) && Boolean(marks());
      if (!names.some((name) => bodies[name].there)) missing.push(names[0]);
      renderer.setViewport(k * width, 0, width, box.height);
      renderer.setScissor(k * width, 0, width, box.height);
      renderer.setScissorTest(true);
      renderer.render(scene, camera);
    });
    if (beside) { $("left-name").textContent = "scan"; $("right-name").textContent = "registered mesh"; }
    const words = { mesh: "This frame has no registered mesh.", scan: given.scans ? "This frame has no scan." : "There are no scans in this file." };
    const lacking = missing.map((name) => words[name]);
    if (options.surface === "error" && !shown.errorColors && !missing.length) lacking.push("There is no error to show: it needs the scan.");
    say([...lacking, ...shown.about.missing].join(" "));
  }

  // -- words

  function say(text) { $("message").textContent = text; }

  function number(value) { return Math.abs(value) >= 1000 ? value.toFixed(0) : String(Number(value.toPrecision(3))); }

  function tell() {
    const frame = sequence.frames[row];
    $("frame-name").textContent = shapes ? "mean face" : `${sequence.name}, frame ${frame.number}`;
    $("frame-state").textContent = shapes ? "" : frame.ok ? (frame.note ? `ok, noted: ${frame.note}` : "ok") : `rejected: ${frame.reason}`;
    $("frame-state").className = frame.ok ? "" : "rejected";
    $("count").textContent = `${row + 1} of ${sequence.frames.length}`;
    $("said").textContent = frame.message;
    $("remark").textContent = sequence.remark;
    const table = $("figures");
    table.replaceChildren();
    for (const [name, value] of Object.entries(frame.figures)) {
      const line = table.insertRow();
      line.title = sequence.meanings[name] || "";
      line.insertCell().textContent = name;
      line.insertCell().textContent = `${number(value)} ${sequence.units[name] || ""}`;
    }
    if (given.review) {
      const verdict = frame.verdict;
      $("verdict").textContent = verdict ? `${verdict.good ? "good" : "bad"}${verdict.reason ? `: ${verdict.reason}` : ""}` : "not looked at yet";
      const said = verdict ? verdict.reason : "";
      const about = `${place}/${row}/${said}`;
      if (told !== about) $("reason").value = said; // what somebody is typing about this frame stays
      told = about;
    }
  }

  // -- what a person does

  function set(name, value) {
    options[name] = value;
    if (name === "layout" || name === "surface") {
      for (const input of document.querySelectorAll(`input[name=${name}]`)) input.checked = input.value === value;
    } else $(name).checked = value;
    if (name === "edit" && value && options.layout !== "beside") { set("layout", "scan"); return; }
    if (shown && (name === "edit" || options.edit)) dot();
    $("legend").hidden = options.surface !== "error";
    draw();
  }

  let timer = null;
  let playing = 0; // whoever plays again before a frame has come must not play twice as fast
  function play(on) {
    const turn = ++playing;
    clearTimeout(timer);
    timer = null;
    if (on && !sequence) return;
    $("play").textContent = on ? "\u275a\u275a" : "\u25b6";
    if (!on) return;
    const next = async () => {
      const began = performance.now();
      await go(row + 1 < sequence.frames.length ? row + 1 : 0);
      if (turn === playing) timer = setTimeout(next, Math.max(0, PLAY_MS - (performance.now() - began)));
    };
    timer = setTimeout(next, PLAY_MS);
  }

  async function judge(verdict) {
    if (!sequence) return;
    const all = $("all").checked;
    $("saved").textContent = "";
    const own = { place, row: all ? null : row, item: sequence.name, number: all ? null : sequence.frames[row].number };
    try {
      const body = { ...own, verdict, reason: verdict === "none" ? "" : $("reason").value };
      const answer = await (await ask("/verdict", body)).json();
      if (own.place !== place) return;
      sequence = answer;
      tell();
      $("saved").textContent = "Written to review.csv; the next run uses it.";
    } catch (error) {
      $("saved").textContent = `${own.item}: ${error.message || error}`;
    }
  }

  async function open(at) {
    play(false);
    const ticket = ++opening;
    let found;
    try {
      found = await store.sequence(at);
    } catch (error) {
      if (ticket === opening) say(String(error.message || error));
      return;
    }
    if (ticket !== opening) return;
    // together: what is said and drawn is never of one sequence while verdicts go to another
    [place, sequence, shown, shownRow] = [at, found, null, null];
    for (const data of frames.kept.values()) forget(data);
    frames = emptyShelf();
    draw();
    $("slider").max = sequence.frames.length - 1;
    await go(0);
  }

  const KEYS = {
    ArrowLeft: () => go(row - 1), ArrowRight: () => go(row + 1),
    Home: () => go(0), End: () => sequence && go(sequence.frames.length - 1), " ": () => play(timer === null),
    1: () => set("layout", "mesh"), 2: () => set("layout", "scan"),
    3: () => set("layout", "beside"), 4: () => set("layout", "over"),
    t: () => set("surface", "texture"), s: () => set("surface", "shaded"), e: () => set("surface", "error"),
    w: () => set("wire", !options.wire), l: () => set("marks", !options.marks), r: () => template && front(),
    m: () => given.review && set("edit", !options.edit),
    0: () => given.shapes.length && reset(), c: () => given.shapes.length && chance(),
    g: () => given.review && judge("good"), b: () => given.review && judge("bad"),
  };

  function listen() {
    document.addEventListener("keydown", (event) => {
      const typing = event.target.matches("select, input:not([type=radio]):not([type=checkbox]):not([type=range])");
      const key = KEYS[event.key];
      // a slider of a shape has its own arrows
      const moving = event.target.matches("#sliders input") && event.key.length > 1;
      if (typing || moving || !key || event.ctrlKey || event.altKey || event.metaKey) return;
      if (event.key === " " && event.target.matches("button, summary")) return;
      event.preventDefault();
      key();
    });
    for (const name of ["layout", "surface"])
      for (const input of document.querySelectorAll(`input[name=${name}]`))
        input.addEventListener("change", () => set(name, input.value));
    for (const name of ["wire", "marks", "edit"]) $(name).addEventListener("change", () => set(name, $(name).checked));
    $("slider").addEventListener("input", () => { play(false); go(Number($("slider").value)); });
    $("play").addEventListener("click", () => play(timer === null));
    for (const verdict of ["good", "bad", "none"]) $(verdict).addEventListener("click", () => judge(verdict));
    window.addEventListener("resize", draw);
    // whoever comes back from a run sees what it made
    window.addEventListener("focus", () => { if (given.token && sequence && timer === null) go(row); });
    const canvas = $("canvas");
    let held = null;
    canvas.addEventListener("pointerdown", (event) => {
      const point = options.edit && event.button === 0 ? grabbed(event) : null;
      if (point !== null) $("point").value = point;
      held = { x: event.clientX, y: event.clientY, move: event.button === 2 || event.shiftKey, point };
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!held) return;
      const dx = event.clientX - held.x, dy = event.clientY - held.y;
      Object.assign(held, { x: event.clientX, y: event.clientY });
      if (held.point !== null) { move(held.point, event); return; }
      if (held.move) {
        const mm = (2 * view.distance * Math.tan((camera.fov * Math.PI) / 360)) / canvas.clientHeight;
        view.x -= dx * mm; view.y += dy * mm;
      } else {
        view.turn -= dx * 0.008;
        view.tilt = Math.max(-1.5, Math.min(1.5, view.tilt + dy * 0.008));
      }
      draw();
    });
    canvas.addEventListener("pointerup", () => { held = null; });
    canvas.addEventListener("dblclick", (event) => {
      if (!options.edit) return;
      const point = Number($("point").value);
      move(point, event);
      $("point").value = Math.min(point + 1, given.landmark_names.length - 1);
    });
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      view.distance = Math.max(20, Math.min(4000, view.distance * Math.exp(event.deltaY * 0.001)));
      draw();
    }, { passive: false });
    if (given.names) {
      $("search-box").hidden = false;
      $("search").addEventListener("input", search);
      $("search").addEventListener("focus", search);
      document.addEventListener("click", (event) => {
        if (!event.target.closest("#hits, #search-box")) $("hits").hidden = true;
      });
    }
    $("review").hidden = $("correct").hidden = !given.review;
    const model = given.shapes.length > 0;
    $("shapes").hidden = !model;
    for (const id of ["layout", "as-error", "as-marks", "about", "film"]) if (model) $(id).hidden = true;
    if (model) for (const key of ["1", "2", "3", "4", "e", "l"]) delete KEYS[key];
    $("reset").addEventListener("click", reset);
    $("chance").hidden = !given.shapes.some((group) => group.drawn);
    $("chance").addEventListener("click", chance);
    (given.landmark_names || []).forEach((name, k) => {
      const option = document.createElement("option");
      option.value = k;
      option.textContent = name;
      $("point").append(option);
    });
    $("save").addEventListener("click", () =>
      correct(Object.entries(moved()).map(([k, point]) => [Number(k), ...point])));
    $("back").addEventListener("click", () => correct([]));
  }

  function search() {
    const words = $("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    const list = $("hits");
    list.replaceChildren();
    let found = 0;
    for (let k = 0; k < given.names.length && found < 40; k++) {
      const name = given.names[k].toLowerCase();
      if (!words.every((word) => name.includes(word))) continue;
      found++;
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = given.names[k];
      button.addEventListener("click", () => { list.hidden = true; open(k); });
      list.appendChild(document.createElement("li")).appendChild(button);
    }
    list.hidden = false;
  }

  function legend() {
    const bar = $("bar").getContext("2d");
    for (let x = 0; x < 160; x++) {
      const at = 3 * Math.round((255 * x) / 159);
      bar.fillStyle = `rgb(${given.colors.slice(at, at + 3).join(",")})`;
      bar.fillRect(x, 0, 1, 10);
    }
    $("legend-top").textContent = `${given.error_top_mm} mm and more`;
    $("legend-text").textContent =
      "Mesh: distance to the scan's surface. Scan: distance to the mesh. Lower is better; grey: nothing to compare with.";
  }

  async function start() {
    listen();
    legend();
    say("Loading ...");
    try {
      template = await unpack(await store.template());
      if (given.shapes.length) shapes = await unpack(await store.shapes());
    } catch (error) {
      say(String(error.message || error));
      return;
    }
    template.vertexFaces = new Uint32Array(template.faces.length);
    for (let i = 0; i < template.faces.length; i++) template.vertexFaces[i] = template.vertex[template.faces[i]];
    const geometry = bodies.mesh.geometry;
    geometry.setIndex(new THREE.BufferAttribute(template.faces, 1));
    geometry.setAttribute("uv", new THREE.BufferAttribute(template.uv, 2, true));
    front();
    makeSliders();
    await open(place);
  }

  start();
})();
