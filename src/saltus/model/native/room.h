/* Memory that is handed out in order. Without a start it is only counted. */
#pragma once
#include "lanes.h"

typedef struct {
    float *start;
    long used;
} Room;

INLINE float *taken(Room *room, long count) {
    float *start = room->start ? room->start + room->used : room->start;
    room->used += padded(count, 16);
    return start;
}
