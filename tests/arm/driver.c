/* Does on an emulated processor what machines.py writes to its input: makes memory, calls functions of the library that is
   named on the command line, and writes memory to its output. */

#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAKE, FILL, POINT, CALL, TELL }; /* kinds of commands */
enum { NUMBER, REAL, ADDRESS };         /* kinds of arguments */
enum { MAX_REGIONS = 64, MAX_ARGUMENTS = 8 };

typedef struct {
  int64_t kind, region, offset, size;
} Command;

typedef struct {
  int64_t kind, value, offset;
} Argument;

typedef int Function(int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, float);

static char *regions[MAX_REGIONS];

static void fail(const char *what) {
  fprintf(stderr, "driver: %s\n", what);
  exit(1);
}

static void get(void *to, size_t size) {
  if (fread(to, 1, size, stdin) != size) fail("the input ends early");
}

/* A region begins `offset` bytes behind a multiple of 64. */
static void make(const Command *command) {
  char *memory = aligned_alloc(64, (command->offset + command->size + 63) / 64 * 64);
  if (!memory || command->region >= MAX_REGIONS) fail("no memory");
  regions[command->region] = memory + command->offset;
  get(regions[command->region], command->size);
}

static void point(const Command *command) {
  Argument to;
  get(&to, sizeof to);
  const char *address = regions[to.value] + to.offset;
  memcpy(regions[command->region] + command->offset, &address, sizeof address);
}

static int64_t number(const Argument *argument) {
  return argument->kind == NUMBER ? argument->value : (int64_t)(regions[argument->value] + argument->offset);
}

/* Numbers and addresses go into other registers than a float, so that one type of function stands for all. */
static void call(void *library, const Command *command) {
  char name[64];
  Argument arguments[MAX_ARGUMENTS];
  get(name, sizeof name);
  if (command->size > MAX_ARGUMENTS) fail("too many arguments");
  get(arguments, command->size * sizeof *arguments);
  int64_t numbers[MAX_ARGUMENTS] = {};
  float real = 0;
  for (int i = 0, n = 0; i < command->size; i++)
    if (arguments[i].kind == REAL)
      memcpy(&real, &arguments[i].value, sizeof real);
    else
      numbers[n++] = number(&arguments[i]);
  Function *function = (Function *)dlsym(library, name);
  if (!function) fail(dlerror());
  const int32_t result = function(
      numbers[0], numbers[1], numbers[2], numbers[3], numbers[4], numbers[5], numbers[6], numbers[7], real);
  if (command->offset) fwrite(&result, sizeof result, 1, stdout); /* the function returns one */
}

int main(int n_words, char **words) {
  void *library = n_words == 2 ? dlopen(words[1], RTLD_NOW) : 0;
  if (!library) fail(n_words == 2 ? dlerror() : "expected a library");
  const char *(*instruction_set)(void) = (const char *(*)(void))dlsym(library, "instruction_set");
  if (!instruction_set) fail(dlerror());
  printf("%s\n", instruction_set());
  Command command;
  while (fread(&command, sizeof command, 1, stdin) == 1)
    if (command.kind == MAKE)
      make(&command);
    else if (command.kind == FILL)
      get(regions[command.region] + command.offset, command.size);
    else if (command.kind == POINT)
      point(&command);
    else if (command.kind == CALL)
      call(library, &command);
    else
      fwrite(regions[command.region] + command.offset, 1, command.size, stdout);
  return fflush(stdout) ? 1 : 0;
}
