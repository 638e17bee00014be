/* The first step, included by the header of each architecture: the image is cut into blocks. */

KEEP_TEXT("text_of_image_h");

/* Cut an image of floats into blocks, as take_bytes does, with no bytes in between. */
static void take_floats(Network *net) {
  const int width = 4 * net->block_columns;
  const int columns = net->width < width - net->left ? net->width : width - net->left; /* no patch reaches the rest */
  float strip[width];
  memset(strip, 0, sizeof strip);
  const int size = 16 * net->channels;
  for (int r = 0; r < net->block_rows; r++) {
    uint8_t *changed = net->changed + r * net->block_columns;
    for (int c = 0; c < net->channels; c++)
      for (int i = 0; i < 4; i++) {
        const int y = 4 * r + i - net->top;
        if (y >= 0 && y < net->height)
          memcpy(strip + net->left, (const float *)net->image + (c * net->height + y) * net->width, 4 * columns);
        else
          memset(strip + net->left, 0, 4 * columns);
        float *part = net->scaled + r * net->block_columns * size + 16 * c + 4 * i;
        for (int b = 0; b < net->block_columns; b++, part += size) {
          const PIXELS found = LOAD_PIXELS(strip + 4 * b);
          const PIXELS before = LOAD_PIXELS(part);
          changed[b] |= !SAME_PIXELS(before, found);
          STORE_PIXELS(part, found);
        }
      }
  }
}

/* Write n pixels of the image from the given one on as bytes; floats to the nearest, halves up. With and without a fused
   multiply-add that is the same byte for each float from 0 to 1. */
static inline void copy_bytes(const Network *net, uint8_t *to, int from, int n) {
  if (net->is_float)
    for (int k = 0; k < n; k++) to[k] = (uint8_t)(int32_t)(((const float *)net->image)[from + k] * 255 + 0.5f);
  else
    memcpy(to, (const uint8_t *)net->image + from, n);
}

/* Cut an image into blocks of bytes. */
static void take_bytes(Network *net) {
  const int width = 4 * net->block_columns;
  const int columns = net->width < width - net->left ? net->width : width - net->left; /* no patch reaches the rest */
  uint8_t strip[4][width + 16]; /* four rows with their border */
  memset(strip, 0, sizeof strip);
  const int size = 16 * net->channels;
  for (int r = 0; r < net->block_rows; r++) {
    uint8_t *changed = net->changed + r * net->block_columns;
    for (int c = 0; c < net->channels; c++) {
      for (int i = 0; i < 4; i++) {
        const int y = 4 * r + i - net->top;
        if (y >= 0 && y < net->height)
          copy_bytes(net, strip[i] + net->left, (c * net->height + y) * net->width, columns);
        else
          memset(strip[i] + net->left, 0, columns);
      }
      uint8_t *part = net->blocks + r * net->block_columns * size + 16 * c;
      for (int b = 0; b < net->block_columns; b += 4) { /* four rows of four blocks, a word each */
        const PIXELS y0 = LOAD_PIXELS(strip[0] + 4 * b);
        const PIXELS y1 = LOAD_PIXELS(strip[1] + 4 * b);
        const PIXELS y2 = LOAD_PIXELS(strip[2] + 4 * b);
        const PIXELS y3 = LOAD_PIXELS(strip[3] + 4 * b);
        const PIXELS low01 = LOW32(y0, y1), low23 = LOW32(y2, y3);
        const PIXELS high01 = HIGH32(y0, y1), high23 = HIGH32(y2, y3);
        const PIXELS found[4] = {LOW64(low01, low23), HIGH64(low01, low23), LOW64(high01, high23), HIGH64(high01, high23)};
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++, part += size) {
          if (b + i >= net->block_columns) break;
          const PIXELS before = LOAD_PIXELS(part);
          changed[b + i] |= !SAME_PIXELS(before, found[i]);
          STORE_PIXELS(part, found[i]);
        }
      }
    }
    if (net->scaled)
      for (int b = 0; b < net->block_columns; b++)
        if (changed[b])
          for (int i = 0, at = (r * net->block_columns + b) * size; i < size; i++, at++)
            net->scaled[at] = net->blocks[at] * (1.0f / 255);
  }
}

/* Cut the image into blocks, note which have changed, and clear the flags of what the layers will compute. */
void take_image(Network *net) {
  memset(net->changed, net->fresh, net->block_rows * net->block_columns);
  if (net->is_float && net->scaled)
    take_floats(net);
  else
    take_bytes(net);
  for (int i = 0; i < 3; i++) {
    const Layer *layer = &net->layers[i];
    for (int r = 0; r < layer->rows; r++)
      memset(layer->target_changed + r * layer->target_columns, net->fresh, layer->columns);
  }
}
