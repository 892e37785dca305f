<?php

return [
    'default' => 'sqlite',
    'connections' => ['sqlite' => ['driver' => 'sqlite', 'database' => env('DATABASE'), 'prefix' => '']],
    'migrations' => 'migrations',
];
