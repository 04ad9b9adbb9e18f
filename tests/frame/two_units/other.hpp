#pragma once

int other_threads();
const void* other_setting();
void other_fail();
