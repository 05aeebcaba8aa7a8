/* A reader's own picture: read in the page, cut to its middle square, shrunk to 32 × 32. It is sent nowhere. */
const own = (() => {
  "use strict";
  const SIDE = 512; // enough to shrink from

  async function read(file) {
    const bitmap = await createImageBitmap(file).catch(() => {
      throw new Error(`${file.name} is no picture that this browser can read; choose a PNG or JPEG file.`);
    });
    const side = Math.min(bitmap.width, bitmap.height), canvas = document.createElement("canvas");
    canvas.width = canvas.height = SIDE;
    const context = canvas.getContext("2d");
    context.fillStyle = "white"; // what transparent pixels lie on
    context.fillRect(0, 0, SIDE, SIDE);
    context.imageSmoothingQuality = "high";
    context.drawImage(bitmap, (bitmap.width - side) / 2, (bitmap.height - side) / 2, side, side, 0, 0, SIDE, SIDE);
    return shrink(context.getImageData(0, 0, SIDE, SIDE).data);
  }

  // The mean of every square of 16 × 16, as sdnet.data.pictures shrinks the page's own pictures.
  function shrink(data) {
    const part = SIDE / 32, sums = new Float64Array(3072);
    for (let i = 0; i < SIDE * SIDE; i++) {
      const place = Math.floor(i / SIDE / part) * 32 + Math.floor((i % SIDE) / part);
      for (let c = 0; c < 3; c++) sums[3 * place + c] += data[4 * i + c];
    }
    return Uint8Array.from(sums, (sum) => Math.round(sum / part ** 2));
  }

  // Calls back with 8-bit pixels and the file's name, or with an error.
  function listen(input, area, found, failed) {
    const take = (file) => file && read(file).then((pixels) => found(pixels, file.name), failed);
    input.addEventListener("change", () => take(input.files[0]));
    area.addEventListener("dragover", (event) => event.preventDefault());
    area.addEventListener("drop", (event) => {
      event.preventDefault();
      take(event.dataTransfer.files[0]);
    });
  }

  return { listen };
})();
