/* The sums of a layer of bytes by the processor's tiles (AMX), which multiply 16 × 64 by 64 × 16 bytes at once. */

/* Compute two runs of patches that follow each other in a row of the grid, named by the first patch of each. */
static void multiply_tiles(const Layer *layer, int run, int other_run) {
  const int n_outputs = layer->n_outputs, segment = layer->window * layer->n_inputs, columns = layer->columns;
  const int source_row = layer->source_columns * layer->n_inputs, stride = layer->step * layer->n_inputs;
  const uint8_t *source = layer->source;
  const uint8_t *sources[2] = {source + layer->step * (run / columns) * source_row + run % columns * stride,
                               source + layer->step * (other_run / columns) * source_row + other_run % columns * stride};
  for (int first = 0; first < n_outputs; first += 32) {
    const int8_t *weights = layer->weights + 4 * first;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int y = 0; y < layer->window; y++)
      for (int i = 0; i < segment; i += 64, weights += 64 * n_outputs) {
        _tile_loadd(4, sources[0] + y * source_row + i, stride);
        _tile_loadd(5, sources[1] + y * source_row + i, stride);
        _tile_loadd(6, weights, 4 * n_outputs);
        _tile_loadd(7, weights + 64, 4 * n_outputs);
        _tile_dpbusd(0, 4, 6);
        _tile_dpbusd(1, 4, 7);
        _tile_dpbusd(2, 5, 6);
        _tile_dpbusd(3, 5, 7);
      }
    int32_t *sums = layer->sums + run * n_outputs + first, *other_sums = layer->sums + other_run * n_outputs + first;
    _tile_stored(0, sums, 4 * n_outputs);
    _tile_stored(1, sums + 16, 4 * n_outputs);
    _tile_stored(2, other_sums, 4 * n_outputs);
    _tile_stored(3, other_sums + 16, 4 * n_outputs);
  }
}

/* Compute the listed patches, and with them the others of their rows; returns 0 if the layer's shape does not fit. */
static int convolve_rows(const Layer *layer, const int32_t *list, int n) {
  if (layer->window * layer->n_inputs % 64) return 0;
  const int columns = layer->columns, n_parts = (columns + 15) / 16, length = (columns + n_parts - 1) / n_parts;
  struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
  } shapes = {.palette = 1};
  for (int tile = 0; tile < 8; tile++) {
    shapes.row_bytes[tile] = 64;
    shapes.rows[tile] = tile < 6 ? length : 16;
  }
  _tile_loadconfig(&shapes);
  int waiting = -1;
  for (int i = 0, done = -1; i < n; i++) {
    const int row = list[i] / columns;
    if (row == done) continue;
    done = row;
    for (int part = 0; part < n_parts; part++) {
      const int begin = part * length < columns - length ? part * length : columns - length; /* the last may overlap */
      const int run = row * columns + begin;
      if (waiting >= 0) multiply_tiles(layer, waiting, run);
      waiting = waiting >= 0 ? -1 : run;
    }
  }
  if (waiting >= 0) multiply_tiles(layer, waiting, waiting);
  _tile_release();
  return 1;
}
